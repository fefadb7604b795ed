"""The network's parts, each registered and usable alone."""

from . import aux_heads, backbones, decode_heads, losses, necks, segmentors, text_encoders
from .data_preprocessor import MultiSizePreProcessor, ReferringPreProcessor
from .self_distillation import MaskRIS
from .structures import Decoded, Features

__all__ = [
    'Decoded',
    'Features',
    'MaskRIS',
    'MultiSizePreProcessor',
    'ReferringPreProcessor',
    'aux_heads',
    'backbones',
    'decode_heads',
    'losses',
    'necks',
    'segmentors',
    'text_encoders',
]
