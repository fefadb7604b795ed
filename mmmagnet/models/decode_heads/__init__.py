"""Decode heads: features of both encoders in, masks out."""

from .caris_head import CARISHead
from .cris_head import CRISHead
from .lavt_head import LAVTHead
from .magnet_head import MagNetDecoded, MagNetHead
from .mmseg_decode_head import MMSegDecodeHead
from .referring_decode_head import ReferringDecodeHead
from .rela_head import ReLAHead

__all__ = [
    'CARISHead',
    'CRISHead',
    'LAVTHead',
    'MMSegDecodeHead',
    'MagNetDecoded',
    'MagNetHead',
    'ReLAHead',
    'ReferringDecodeHead',
]
