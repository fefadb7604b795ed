"""Auxiliary heads of training. `requires` names the tensors that their `loss` takes."""

from .alignment_head import AlignmentHead
from .auxiliary_heads import AuxiliaryHeads
from .mask_grounding_head import MaskedWords, MaskGroundingHead

__all__ = ['AlignmentHead', 'AuxiliaryHeads', 'MaskGroundingHead', 'MaskedWords']
