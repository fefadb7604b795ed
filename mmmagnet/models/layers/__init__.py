"""Layers, one file each. They know tensors, not each other's users."""

from .checkpointing import checkpointed
from .conv_norm import conv_bn_relu
from .coordinates import add_coordinates
from .cross_decoder import CrossDecoder
from .deformable_attention import DeformableAttention
from .dense_adapter import ImageAdapter, TextAdapter
from .fpn_pixel_decoder import FPNPixelDecoder, LateralStep
from .freezing import freeze
from .pixel_decoder import PixelDecoder
from .pixel_word_attention import PixelWordAttention, TokenInstanceNorm
from .positions import sine_positions_1d, sine_positions_2d
from .query_decoder import QueryDecoder, QueryPrediction
from .region_decoder import RegionDecoder, RegionPrediction
from .two_way_decoder import TwoWayDecoder
from .window_attention import SwinBlock, WindowAttention
from .word_pixel_attention import WordPixelAttention

__all__ = [
    'CrossDecoder',
    'DeformableAttention',
    'FPNPixelDecoder',
    'ImageAdapter',
    'LateralStep',
    'PixelDecoder',
    'PixelWordAttention',
    'QueryDecoder',
    'QueryPrediction',
    'RegionDecoder',
    'RegionPrediction',
    'SwinBlock',
    'TextAdapter',
    'TokenInstanceNorm',
    'TwoWayDecoder',
    'WindowAttention',
    'WordPixelAttention',
    'add_coordinates',
    'checkpointed',
    'conv_bn_relu',
    'freeze',
    'sine_positions_1d',
    'sine_positions_2d',
]
