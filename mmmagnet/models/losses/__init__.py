"""Losses, computed in fp32 whatever the network runs in."""

from .alignment_loss import CrossModalAlignmentLoss
from .bce_dice_loss import BCEDiceLoss
from .ce_dice_loss import CEDiceLoss

__all__ = ['BCEDiceLoss', 'CEDiceLoss', 'CrossModalAlignmentLoss']
