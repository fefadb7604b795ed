"""Pixel decoder: four scales exchange context by deformable attention (Mask2Former)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpointing import checkpointed
from .deformable_attention import DeformableAttention, reference_points
from .positions import sine_positions_2d

_BLOCK = 1024  # tokens of a batch that an FFN takes at a time on CPUs, so that its hidden values stay in the cache


class PixelDecoderLayer(nn.Module):
    """Deformable self-attention over all scales, then an FFN; both post-norm.

    Args:
        width: Channels E.
        num_levels: Scales S.
        num_heads: Heads of the attention.
        num_points: Points per head and scale.
        ffn_width: Hidden width of the FFN.
    """

    def __init__(self, width: int, num_levels: int, num_heads: int, num_points: int, ffn_width: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(width, num_levels, num_heads, num_points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ffn_width)
        self.linear2 = nn.Linear(ffn_width, width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor, reference: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
        """Tokens of all scales, (B, N, E) -> (B, N, E); `positions` (N, E); `reference` (N, 2)."""
        read = self.attention(tokens + positions, tokens, reference, shapes)
        if tokens.device.type != 'cpu' or torch.compiler.is_compiling():  # a graph is of any batch
            return self._finish(tokens, read)
        block = max(_BLOCK // max(len(tokens), 1), 1)
        parts = zip(tokens.split(block, dim=1), read.split(block, dim=1), strict=True)
        return torch.cat([self._finish(*part) for part in parts], dim=1)

    def _finish(self, tokens: Tensor, read: Tensor) -> Tensor:
        tokens = self.norm1(tokens + read)
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))


class PixelDecoder(nn.Module):
    """1x1 projections of all scales, deformable layers over them, and mask features at the finest [O].

    Args:
        in_channels: Channels of the feature maps, fine to coarse.
        width: E.
        num_layers: Deformable layers.
        num_heads: Heads of each.
        num_points: Points per head and scale.
        ffn_width: Hidden width of their FFNs.
        num_groups: Groups of the GroupNorm after each projection.
        with_cp: Activation checkpointing of its layers: they run again in the backward pass.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        width: int = 256,
        num_layers: int = 4,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_width: int = 1024,
        num_groups: int = 32,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        levels = len(in_channels)
        self.projections = nn.ModuleList()
        for channels in reversed(in_channels):
            projection = nn.Conv2d(channels, width, 1)
            nn.init.xavier_uniform_(projection.weight)
            self.projections.append(nn.Sequential(projection, nn.GroupNorm(num_groups, width)))
        self.level_embed = nn.Parameter(torch.randn(levels, width))
        self.layers = nn.ModuleList(
            PixelDecoderLayer(width, levels, num_heads, num_points, ffn_width) for _ in range(num_layers)
        )
        self.mask_features = nn.Conv2d(width, width, 1)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Mix the scales.

        Args:
            features: Maps (B, C_i, H_i, W_i), fine to coarse.

        Returns:
            Mask features (B, E, H_1, W_1), and the maps (B, E, H_i, W_i) from coarse to fine.
        """
        outputs = self.mix(features)
        return self.mask_features(outputs[-1]), outputs

    def mix(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C_i, H_i, W_i), fine to coarse -> maps (B, E, H_i, W_i), coarse to fine, after all layers."""
        maps = [projection(feature) for projection, feature in zip(self.projections, reversed(features), strict=True)]
        tokens, positions, reference, shapes = join_scales(maps, self.level_embed)
        for layer in self.layers:
            tokens = checkpointed(layer, tokens, positions, reference, shapes, active=self.with_cp)
        return part_scales(tokens, shapes)


def join_scales(maps: list[Tensor], level_embed: Tensor) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]:
    """Maps of S scales as one row of tokens.

    Args:
        maps: (B, E, H_i, W_i).
        level_embed: (S, E), added to the positions of each scale.

    Returns:
        Tokens (B, N, E), positions (N, E), reference points (N, 2), and (H_i, W_i).
    """
    shapes = [(image.shape[2], image.shape[3]) for image in maps]
    tokens = torch.cat([image.flatten(2).transpose(1, 2) for image in maps], dim=1)
    width, device = tokens.shape[2], tokens.device
    levels = zip(shapes, level_embed, strict=True)
    positions = torch.cat([sine_positions_2d(h, w, width, device) + level for (h, w), level in levels])
    return tokens, positions, reference_points(tuple(shapes), device), shapes


def part_scales(tokens: Tensor, shapes: list[tuple[int, int]]) -> list[Tensor]:
    """Tokens (B, N, E) of scales (H_i, W_i) -> maps (B, E, H_i, W_i)."""
    levels = tokens.split([h * w for h, w in shapes], dim=1)
    return [level.transpose(1, 2).unflatten(2, shape) for level, shape in zip(levels, shapes, strict=True)]
