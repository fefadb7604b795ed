"""Loss of a two-class decoder: weighted cross-entropy and Dice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS


@MODELS.register_module()
class CEDiceLoss(nn.Module):
    """Cross-entropy with class weights, and Dice of the foreground, on background and foreground logits, in fp32.

    The cross-entropy is the weighted mean over all known pixels of the batch, 0 where none is. Dice of one mask, with p
    the foreground's probability and g its target: ``1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)``, the mean over the
    batch.

    Args:
        ce_weight: Weight of the cross-entropy.
        dice_weight: Weight of the Dice loss.
        class_weight: Of background and foreground in the cross-entropy [R: LAVT's 0.9 and 1.1].
        ignore_index: Pixels with this label count in neither.

    Example:
        >>> loss = CEDiceLoss(ce_weight=1.0, dice_weight=1.0)
        >>> sorted(loss(torch.randn(2, 2, 8, 8), torch.ones(2, 1, 8, 8)))
        ['loss_ce', 'loss_dice']
    """

    class_weight: Tensor

    def __init__(
        self,
        ce_weight: float = 1.0,
        dice_weight: float = 0.0,
        class_weight: tuple[float, float] = (0.9, 1.1),
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.ignore_index = ignore_index
        self.register_buffer('class_weight', torch.tensor(class_weight), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compare predictions with the truth.

        Args:
            logits: (B, 2, H, W), background and foreground.
            labels: (B, 1, H, W) integers: 1 in the mask, 0 outside, `ignore_index` unknown.

        Returns:
            ``loss_ce`` and ``loss_dice``, scalars; those of weight zero are left out.
        """
        logits, labels = logits.float(), labels.squeeze(1).long()
        losses = {}
        if self.ce_weight:
            class_weight = self.class_weight.float()  # buffers are cast with the network
            ce = F.cross_entropy(logits, labels, class_weight, ignore_index=self.ignore_index, reduction='sum')
            weight = class_weight[1] * (labels == 1).sum() + class_weight[0] * (labels == 0).sum()
            losses['loss_ce'] = self.ce_weight * ce / weight.clamp(min=1e-6)
        if self.dice_weight:
            known = (labels != self.ignore_index).float()
            probability, target = logits.softmax(1)[:, 1] * known, (labels == 1).float()
            overlap = (probability * target).sum((1, 2))
            dice = 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
            losses['loss_dice'] = self.dice_weight * dice.mean()
        return losses
