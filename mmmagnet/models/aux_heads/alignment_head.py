"""Alignment head: projects words to the width of the mask features and computes the alignment loss."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from .auxiliary_head import AuxiliaryHead, AuxiliaryInputs


@MODELS.register_module()
class AlignmentHead(AuxiliaryHead):
    """Projects words to the width of the mask features, averages them, and compares both under the mask.

    It exists in training only [P: exists; form R].

    Args:
        text_channels: D, width of the words.
        feat_channels: E, width of the mask features.
        loss: The loss, by default `CrossModalAlignmentLoss`.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = AlignmentHead(text_channels=768, feat_channels=256)
        >>> words, word_mask = torch.rand(2, 8, 768), torch.ones(2, 8)
        >>> image, gt_masks = torch.rand(2, 4, 4, 1024), torch.ones(2, 1, 128, 128)
        >>> given = dict(words=words, word_mask=word_mask, image=image, gt_masks=gt_masks)
        >>> losses = head.loss(AuxiliaryInputs(**given, mask_features=torch.rand(2, 256, 32, 32)))
    """

    reads_words = True

    def __init__(
        self, text_channels: int, feat_channels: int, loss: dict | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.word_proj = nn.Linear(text_channels, feat_channels)
        self.align = MODELS.build(loss or dict(type='CrossModalAlignmentLoss'))

    def loss(self, inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        """Alignment loss of a batch. A feature is in the mask, or outside, where most of its pixels are.

        Args:
            inputs: With `mask_features`.

        Raises:
            TypeError: If there are no mask features.
        """
        if inputs.mask_features is None:
            raise TypeError('AlignmentHead reads mask_features: hand them to AuxiliaryInputs')
        share = (inputs.word_mask / inputs.word_mask.sum(1, keepdim=True)).unsqueeze(2)
        expression = (self.word_proj(inputs.words) * share).sum(1)
        height, width = inputs.mask_features.shape[2:]
        inside, outside = (
            F.adaptive_avg_pool2d((inputs.gt_masks == label).float(), (height, width)).flatten(1) >= 0.5
            for label in (1, 0)
        )
        pixels = inputs.mask_features.flatten(2).transpose(1, 2)
        return {'loss_align': self.align(pixels, expression, inside, outside & ~inside)}
