"""Losses, computed in fp32 whatever the network runs in."""

from .alignment_loss import CrossModalAlignmentLoss
from .mask_loss import MaskLoss
from .two_class_loss import TwoClassLoss

__all__ = ['CrossModalAlignmentLoss', 'MaskLoss', 'TwoClassLoss']
