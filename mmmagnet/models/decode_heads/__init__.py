"""Decode heads: feature maps of four scales in, foreground logits out."""

from .magnet_head import DecodedMasks, MagNetHead

__all__ = ['DecodedMasks', 'MagNetHead']
