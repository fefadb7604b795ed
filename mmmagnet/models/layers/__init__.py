"""Layers, one file each. They know tensors, not each other's users."""

from .checkpointing import checkpointed
from .deformable_attention import DeformableAttention
from .freezing import freeze
from .pixel_decoder import PixelDecoder
from .pixel_word_attention import PixelWordAttention, TokenInstanceNorm
from .positions import sine_positions_1d, sine_positions_2d
from .query_decoder import QueryDecoder, QueryPrediction
from .window_attention import SwinBlock, WindowAttention
from .word_pixel_attention import WordPixelAttention

__all__ = [
    'DeformableAttention',
    'PixelDecoder',
    'PixelWordAttention',
    'QueryDecoder',
    'QueryPrediction',
    'SwinBlock',
    'TokenInstanceNorm',
    'WindowAttention',
    'WordPixelAttention',
    'checkpointed',
    'freeze',
    'sine_positions_1d',
    'sine_positions_2d',
]
