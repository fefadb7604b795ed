"""Losses, computed in fp32 whatever the network runs in."""

from .alignment_loss import CrossModalAlignmentLoss
from .mask_loss import MaskLoss

__all__ = ['CrossModalAlignmentLoss', 'MaskLoss']
