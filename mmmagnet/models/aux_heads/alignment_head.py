"""Alignment head: brings words to the pixels' space and asks the alignment loss."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS


@MODELS.register_module()
class AlignmentHead(BaseModule):
    """Projects words to the width of the mask features, averages them, and compares both under the mask.

    Training only (docs/paper.md [P: exists; form R]).

    Args:
        text_channels: D, width of the words.
        feat_channels: E, width of the mask features.
        loss: The loss, by default `CrossModalAlignmentLoss`.
        init_cfg: As of every MMEngine module.
    """

    requires = ('words', 'word_mask', 'mask_features', 'gt_masks')

    def __init__(
        self, text_channels: int, feat_channels: int, loss: dict | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.word_proj = nn.Linear(text_channels, feat_channels)
        self.align = MODELS.build(loss or dict(type='CrossModalAlignmentLoss'))

    def loss(self, words: Tensor, word_mask: Tensor, mask_features: Tensor, gt_masks: Tensor) -> dict[str, Tensor]:
        """Alignment loss of a batch.

        Args:
            words: Words after the last alignment module, (B, L, D).
            word_mask: (B, L), 1 = real word.
            mask_features: (B, E, H_1, W_1).
            gt_masks: (B, 1, H, W): 1 in the mask, 0 outside, others unknown. A feature is where most of its pixels are.
        """
        share = (word_mask / word_mask.sum(1, keepdim=True)).unsqueeze(2)
        sentence = (self.word_proj(words) * share).sum(1)
        height, width = mask_features.shape[2:]
        inside, outside = (
            F.adaptive_avg_pool2d((gt_masks == label).float(), (height, width)).flatten(1) >= 0.5 for label in (1, 0)
        )
        pixels = mask_features.flatten(2).transpose(1, 2)
        return {'loss_align': self.align(pixels, sentence, inside, outside & ~inside)}
