"""Plain early fusion: the expression as a whole conditions the image encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from .fusion_neck import FusionNeck


@MODELS.register_module()
class FiLMFusion(FusionNeck):
    """After every stage the mean of the words scales and shifts the image tokens, channel by channel (as FiLM does).

    A baseline without word attention: with s the mean of the real words, V_i becomes (1 + A s) * V_i + B s, for the
    encoder and the decoder alike; A and B start at zero. Words pass unchanged, so let the whole text encoder run before
    the first fusion: ``stage_ends=(12, 12, 12, 12)``.

    Args:
        image_channels: C_i of each stage.
        text_channels: D.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> neck = FiLMFusion(image_channels=(16, 32), text_channels=24)
        >>> feature, image, words = neck.fuse(0, torch.rand(2, 8, 8, 16), torch.rand(2, 5, 24), torch.ones(2, 5))
        >>> feature.shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, image_channels: Sequence[int], text_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(image_channels, init_cfg)
        conditions = [nn.Linear(text_channels, 2 * width) for width in image_channels]
        for condition in conditions:
            nn.init.zeros_(condition.weight)
            nn.init.zeros_(condition.bias)
        self.conditions = nn.ModuleList(conditions)

    def fuse(self, stage: int, image: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Condition the image on the expression; see `FusionNeck.fuse`."""
        share = (word_mask / word_mask.sum(1, keepdim=True).clamp(min=1)).to(words.dtype)
        expression = torch.einsum('bl,bld->bd', share, words)
        scale, shift = self.conditions[stage](expression)[:, None, None].chunk(2, dim=3)
        image = (1 + scale) * image + shift
        return image.permute(0, 3, 1, 2), image, words
