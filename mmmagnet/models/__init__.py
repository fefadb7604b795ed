"""The network's parts, each registered and usable alone."""

from . import aux_heads, backbones, decode_heads, losses, necks, segmentors, text_encoders

__all__ = ['aux_heads', 'backbones', 'decode_heads', 'losses', 'necks', 'segmentors', 'text_encoders']
