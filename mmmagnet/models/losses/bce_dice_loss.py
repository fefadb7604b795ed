"""Loss of predicted masks: binary cross-entropy and Dice."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS


@MODELS.register_module()
class BCEDiceLoss(nn.Module):
    """BCE + Dice on mask logits [R].

    Each is a mean over the batch and a sum over the predictions of a sample, in fp32. Dice of one mask, with p the
    sigmoid of its logits and g its target: ``1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)``.

    Args:
        bce_weight: Weight of the cross-entropy (mean over pixels).
        dice_weight: Weight of the Dice loss.
        ignore_index: Pixels with this label count in neither.

    Example:
        >>> loss = BCEDiceLoss(bce_weight=2.0, dice_weight=2.0)
        >>> sorted(loss(torch.randn(2, 3, 8, 8), torch.ones(2, 1, 8, 8)))
        ['loss_bce', 'loss_dice']
    """

    def __init__(self, bce_weight: float = 2.0, dice_weight: float = 2.0, ignore_index: int = 255) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compare predictions with the truth.

        Args:
            logits: (B, P, H, W), P predictions of the same mask.
            labels: (B, 1, H, W) integers: 1 in the mask, 0 outside, `ignore_index` unknown.

        Returns:
            ``loss_bce`` and ``loss_dice``, scalars.
        """
        logits = logits.float()
        known = (labels != self.ignore_index).float()
        target = (labels == 1).float().expand_as(logits)
        pixels = known.sum((2, 3)).clamp(min=1)
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
        bce = (bce * known).sum((2, 3)) / pixels
        probability = logits.sigmoid() * known
        overlap = (probability * target).sum((2, 3))
        dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
        return {
            'loss_bce': self.bce_weight * bce.sum(1).mean(),
            'loss_dice': self.dice_weight * dice.sum(1).mean(),
        }
