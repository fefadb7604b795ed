"""Layers, one file each. They know tensors, not each other's users."""

from .checkpointing import checkpointed
from .deformable_attention import DeformableAttention
from .pixel_attention import PixelAttention
from .pixel_decoder import PixelDecoder
from .positions import sine_positions_1d, sine_positions_2d
from .query_decoder import QueryDecoder, QueryPrediction
from .window_attention import SwinBlock, WindowAttention
from .word_attention import TokenNorm, WordAttention

__all__ = [
    'DeformableAttention',
    'PixelAttention',
    'PixelDecoder',
    'QueryDecoder',
    'QueryPrediction',
    'SwinBlock',
    'TokenNorm',
    'WindowAttention',
    'WordAttention',
    'checkpointed',
    'sine_positions_1d',
    'sine_positions_2d',
]
