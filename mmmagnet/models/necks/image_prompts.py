"""Image-conditioned prompts: what the text encoder is told of the image (CARIS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS


@MODELS.register_module()
class ImagePrompts(BaseModule):
    """Norms after the image stages, and prompts for the text encoder from the coarsest map.

    The image encoder runs first, then the text encoder on words and prompts; nothing else is fused before the decode
    head (CARIS, doi 10.1145/3581783.3612117 [O]).

    Args:
        image_channels: C_i of each stage.
        text_channels: D.
        pool_sizes: Sizes p of the pooled maps; each gives p * p tokens, and their sum is the number of prompts.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> neck = ImagePrompts(image_channels=(32, 64, 128, 256), text_channels=64)
        >>> maps, prompts = neck.prompt([torch.rand(1, 32 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)])
        >>> prompts.shape
        torch.Size([1, 5, 64])
    """

    reads_padding = False

    def __init__(
        self,
        image_channels: Sequence[int],
        text_channels: int,
        pool_sizes: Sequence[int] = (1, 2),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = tuple(image_channels)
        self.pool_sizes = tuple(pool_sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for channels in image_channels)
        self.prompters = nn.ModuleList(
            nn.Sequential(
                nn.Linear(image_channels[-1], text_channels), nn.ReLU(), nn.Linear(text_channels, text_channels)
            )
            for _ in pool_sizes
        )
        for module in self.prompters.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.prompts = nn.Parameter(torch.randn(sum(size * size for size in pool_sizes), text_channels))
        self.prompt_norm = nn.LayerNorm(text_channels)

    def prompt(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Normalise the maps and make the prompts.

        Args:
            maps: What leaves each image stage, (B, C_i, H_i, W_i), fine to coarse.

        Returns:
            The maps (B, C_i, H_i, W_i) after their norms, and the prompts (B, P, D).
        """
        features = [
            norm(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, image in zip(self.norms, maps, strict=True)
        ]
        pooled = [
            prompter(F.adaptive_avg_pool2d(features[-1], size).flatten(2).transpose(1, 2))
            for prompter, size in zip(self.prompters, self.pool_sizes, strict=True)
        ]
        return features, self.prompt_norm(torch.cat(pooled, dim=1) + self.prompts)
