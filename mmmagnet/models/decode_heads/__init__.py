"""Decode heads: feature maps of four scales in, logits out."""

from .lavt_head import DecodedLogits, LAVTHead
from .magnet_head import DecodedMasks, MagNetHead

__all__ = ['DecodedLogits', 'DecodedMasks', 'LAVTHead', 'MagNetHead']
