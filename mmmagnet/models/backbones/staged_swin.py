"""Swin Transformer, split into stages so that fusion can sit between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import SwinBlock, checkpointed
from .stages import run_stages
from .swin_checkpoint import load_swin_checkpoint


class PatchEmbedding(nn.Module):
    """Non-overlapping patches -> tokens -> LayerNorm. Sides that the patch does not divide are padded with zeros."""

    def __init__(self, in_channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, ceil(H / patch), ceil(W / patch), C)."""
        height, width = inputs.shape[2:]
        inputs = F.pad(inputs, (0, -width % self.patch_size, 0, -height % self.patch_size))
        return self.norm(self.proj(inputs).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """2x2 neighbours -> LayerNorm -> Linear to twice the width (neighbours column by column, as the Swin authors)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 2C)."""
        height, width = image.shape[1:3]
        image = F.pad(image, (0, 0, 0, width % 2, 0, height % 2))
        neighbours = [image[:, y::2, x::2] for x in (0, 1) for y in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbours, dim=3)))


@MODELS.register_module()
class StagedSwin(BaseModule):
    """Swin Transformer (arXiv 2103.14030) as `stem`, `forward_stage` and `downsample`; no norm after a stage [O].

    Args:
        embed_dims: C, width of the first stage; stage i has C * 2^(i-1).
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        window_size: M.
        mlp_ratio: Hidden width of the MLPs over the stage's width.
        drop_path_rate: Stochastic depth, growing linearly from 0 to this over all blocks.
        patch_size: Stride of the first stage.
        in_channels: Channels of the image.
        pretrained: File of ImageNet weights, in the layout of the Swin authors or of mmseg. Read by `init_weights`
            only (MMEngine calls it when a training starts), so the model builds without the file.
        partial: Accept a `pretrained` file that leaves weights of the encoder untouched. By default that is an error.
        with_cp: Activation checkpointing of its blocks: they run again in the backward pass.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> encoder = StagedSwin(embed_dims=32, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window_size=4)
        >>> image = encoder.forward_stage(0, encoder.stem(torch.rand(1, 3, 64, 64)))
        >>> encoder.downsample(0, image).shape
        torch.Size([1, 8, 8, 64])
    """

    def __init__(
        self,
        embed_dims: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 12,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.3,
        patch_size: int = 4,
        in_channels: int = 3,
        pretrained: str | None = None,
        partial: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.pretrained = pretrained
        self.partial = partial
        self.with_cp = with_cp
        self.out_channels = tuple(embed_dims * 2**stage for stage in range(len(depths)))
        self.num_stages = len(depths)
        rates = np.linspace(0, drop_path_rate, sum(depths)).tolist()
        self.patch_embed = PatchEmbedding(in_channels, embed_dims, patch_size)
        self.stages: Any = nn.ModuleList()
        for stage, (width, depth, heads) in enumerate(zip(self.out_channels, depths, num_heads, strict=True)):
            first = sum(depths[:stage])
            self.stages.append(
                nn.Sequential(
                    *(
                        SwinBlock(width, heads, window_size, bool(block % 2), mlp_ratio, rates[first + block])
                        for block in range(depth)
                    )
                )
            )
        self.downsamples = nn.ModuleList(PatchMerging(width) for width in self.out_channels[:-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def init_weights(self) -> None:
        """Load `pretrained`, where it is given.

        Raises:
            FileNotFoundError: If the file is not there.
            CheckpointError: If the file does not hold a Swin of this size.
        """
        super().init_weights()
        if self.pretrained is not None:
            load_swin_checkpoint(self, self.pretrained, self.partial)

    def stem(self, inputs: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> map (B, H_1, W_1, C)."""
        return self.patch_embed(inputs)

    def forward_stage(self, stage: int, image: Tensor) -> Tensor:
        """Run stage 0..3 on its map: (B, H_i, W_i, C_i) -> the same shape."""
        for block in self.stages[stage]:
            image = checkpointed(block, image, active=self.with_cp)
        return image

    def downsample(self, stage: int, image: Tensor) -> Tensor:
        """Go on to the next stage's size and width; the last map stays as it is."""
        return self.downsamples[stage](image) if stage < len(self.downsamples) else image

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """All stages without any fusion: images (B, 3, H, W) -> maps (B, C_i, H_i, W_i), fine to coarse."""
        return run_stages(self, inputs)
