"""Auxiliary heads: losses that exist in training only."""

from .alignment_head import AlignmentHead
from .auxiliary_head import AuxiliaryHead, AuxiliaryInputs, MaskedWords
from .auxiliary_heads import AuxiliaryHeads
from .mask_grounding_head import MaskGroundingHead
from .mmseg_auxiliary_head import MMSegAuxiliaryHead

__all__ = [
    'AlignmentHead',
    'AuxiliaryHead',
    'AuxiliaryHeads',
    'AuxiliaryInputs',
    'MMSegAuxiliaryHead',
    'MaskGroundingHead',
    'MaskedWords',
]
