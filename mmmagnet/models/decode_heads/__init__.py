"""Decode heads: features of both encoders in, masks out."""

from .lavt_head import LAVTHead
from .magnet_head import MagNetDecoded, MagNetHead
from .mmseg_decode_head import MMSegDecodeHead
from .referring_decode_head import ReferringDecodeHead

__all__ = ['LAVTHead', 'MMSegDecodeHead', 'MagNetDecoded', 'MagNetHead', 'ReferringDecodeHead']
