"""Two-way decoder of CARIS: words read the image, the image reads the words, in turns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .deformable_attention import DeformableAttention
from .pixel_decoder import join_scales, part_scales


class WideAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are wider than the tokens.

    Args:
        width: Channels E of the tokens.
        num_heads: Heads h; each is ``expansion * E / h`` wide.
        expansion: Inner width over E.
    """

    def __init__(self, width: int, num_heads: int = 8, expansion: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = expansion * width
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Read values.

        Args:
            query: (B, Q, E).
            key: (B, N, E).
            value: (B, N, E).
            mask: (B, N), 0 = not attended to. Default: all are.

        Returns:
            (B, Q, E).
        """
        queries, keys, values = (
            projection(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for projection, tokens in ((self.query, query), (self.key, key), (self.value, value))
        )
        attended = None if mask is None else mask[:, None, None].bool()
        read = F.scaled_dot_product_attention(queries, keys, values, attn_mask=attended)
        return self.out(read.transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    """Words read the image, each other and pass an FFN; then the image does the same with the words. All post-norm.

    Args:
        width: Channels E.
        num_levels: Levels S of the image.
        num_heads: Heads of all attentions.
        num_points: Points of the deformable attention per head and level.
    """

    def __init__(self, width: int, num_levels: int = 3, num_heads: int = 8, num_points: int = 4) -> None:
        super().__init__()
        self.words_read_image = WideAttention(width, num_heads)
        self.words_self = WideAttention(width, num_heads)
        self.words_mlp = _mlp(width)
        self.image_reads_words = WideAttention(width, num_heads)
        self.image_mlp = _mlp(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        self.image_self = DeformableAttention(width, num_levels, num_heads, num_points)
        self.words_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.image_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.words_scale = nn.Parameter(torch.ones(width))
        self.image_scale = nn.Parameter(torch.ones(width))

    def forward(
        self,
        image: Tensor,
        words: Tensor,
        mask: Tensor,
        positions: Tensor,
        reference: Tensor,
        shapes: Sequence[tuple[int, int]],
    ) -> tuple[Tensor, Tensor]:
        """Update both.

        Args:
            image: Tokens of all levels, (B, N, E).
            words: Words and prompts, (B, L', E).
            mask: (B, L'), 1 = real word or prompt.
            positions: (N, E).
            reference: (N, 2), (x, y) of each image token in 0..1.
            shapes: (H, W) of each level.

        Returns:
            ``image`` and ``words`` of the same shapes.
        """
        norms = self.words_norms
        words = norms[0](words + self.words_scale * self.words_read_image(words, image + positions, image))
        words = norms[1](words + self.words_self(words, words, words, mask))
        words = norms[2](words + self.words_mlp(words))
        norms = self.image_norms
        image = norms[0](image + self.image_scale * self.image_reads_words(image + positions, words, words, mask))
        dtype = self.image_self.value_proj.weight.dtype
        with torch.autocast(image.device.type, enabled=False):  # points are too coarse in half precision
            read = self.image_self((image + positions).to(dtype), image.to(dtype), reference, shapes)
        image = norms[1](image + read)
        image = norms[2](image + self.image_mlp(image))
        return image, words


class TwoWayDecoder(nn.Module):
    """Layers in which the three coarser scales and the words read each other (CARIS, doi 10.1145/3581783.3612117 [O]).

    Args:
        in_channels: Channels of the three maps, fine to coarse.
        text_channels: D, width of the words.
        width: E.
        num_layers: Number of layers.
        num_heads: Heads of all attentions.
        num_points: Points of the deformable attention per head and level.
        num_prompts: Learned tokens that stand beside the words for the background.
        num_groups: Groups of the GroupNorms.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        text_channels: int,
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        num_prompts: int = 5,
        num_groups: int = 32,
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList()
        for channels in reversed(in_channels):
            projection = nn.Conv2d(channels, width, 1)
            nn.init.kaiming_normal_(projection.weight, mode='fan_out', nonlinearity='relu')
            self.projections.append(nn.Sequential(projection, nn.GroupNorm(num_groups, width)))
        self.level_embed = nn.Parameter(torch.randn(len(in_channels), width))
        self.word_proj = nn.Sequential(nn.Linear(text_channels, width), nn.LayerNorm(width))
        self.prompts = nn.Parameter(torch.randn(num_prompts, width))
        self.layers = nn.ModuleList(
            TwoWayLayer(width, len(in_channels), num_heads, num_points) for _ in range(num_layers)
        )

    def forward(
        self, features: Sequence[Tensor], words: Tensor, word_mask: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Let image and words read each other.

        Args:
            features: Maps (B, C_i, H_i, W_i) of the three coarser stages, fine to coarse.
            words: (B, L, D).
            word_mask: (B, L), 1 = real word.

        Returns:
            The maps (B, E, H_i, W_i), coarse to fine; the words (B, L, E); the prompts (B, P, E).
        """
        maps = [projection(feature) for projection, feature in zip(self.projections, reversed(features), strict=True)]
        image, positions, reference, shapes = join_scales(maps, self.level_embed)
        length, prompts = words.shape[1], self.prompts.expand(words.shape[0], -1, -1)
        tokens = torch.cat([self.word_proj(words), prompts.to(words.dtype)], dim=1)
        mask = F.pad(word_mask, (0, prompts.shape[1]), value=1)
        for layer in self.layers:
            image, tokens = layer(image, tokens, mask, positions, reference, shapes)
        return part_scales(image, shapes), tokens[:, :length], tokens[:, length:]


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
