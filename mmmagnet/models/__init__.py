"""The network's parts, each registered and usable alone."""

from . import aux_heads, backbones, decode_heads, losses, necks, segmentors, text_encoders
from .data_preprocessor import MultiSizePreProcessor

__all__ = [
    'MultiSizePreProcessor',
    'aux_heads',
    'backbones',
    'decode_heads',
    'losses',
    'necks',
    'segmentors',
    'text_encoders',
]
