"""Dense adapters of DETRIS: small convolutions beside a frozen encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormReLU(nn.Module):
    """A convolution that keeps the size, BatchNorm of eps 1e-3 and ReLU, over tokens or over a map.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel: Side of the kernel.
        dims: 1 over tokens (B, C, L), 2 over maps (B, C, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dims: int) -> None:
        super().__init__()
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if dims == 1 else (nn.Conv2d, nn.BatchNorm2d)
        self.conv: nn.Module = conv(in_channels, out_channels, kernel, padding=kernel // 2)
        self.bn: nn.Module = norm(out_channels, eps=1e-3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Channels first; the size stays."""
        return F.relu(self.bn(self.conv(tokens)))


class DenseBranches(nn.Module):
    """Three branches that read the input and each other; their results side by side, plus the input.

    Args:
        width: Channels a, a multiple of 16.
        dims: 1 over tokens, 2 over maps.

    Raises:
        ValueError: If 16 does not divide `width`.
    """

    def __init__(self, width: int, dims: int) -> None:
        super().__init__()
        if width % 16:
            raise ValueError(f'adapter of width {width}: give a multiple of 16')
        half, quarter, narrow = width // 2, width // 4, width // 16
        self.branch1 = ConvNormReLU(width, half, 1, dims)
        self.branch2 = nn.Sequential(
            ConvNormReLU(width + half, narrow, 1, dims), ConvNormReLU(narrow, quarter, 3, dims)
        )
        self.branch3 = nn.Sequential(
            ConvNormReLU(width + half + quarter, narrow, 1, dims), ConvNormReLU(narrow, quarter, 5, dims)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, a, ...) -> the same shape."""
        first = self.branch1(tokens)
        second = self.branch2(torch.cat([tokens, first], dim=1))
        third = self.branch3(torch.cat([tokens, first, second], dim=1))
        return torch.cat([first, second, third], dim=1) + tokens


class TextAdapter(nn.Module):
    """Adapter of a text layer (DETRIS, arXiv 2501.08580 [O]). Its convolutions run over the words, pads included.

    Args:
        channels: D, width of the words.
        width: Inner channels a.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.dense = DenseBranches(width, dims=1)
        self.down = nn.Linear(channels, width)
        self.up = nn.Linear(width, channels)

    def forward(self, words: Tensor) -> Tensor:
        """Words (B, L, D) -> their update (B, L, D)."""
        tokens = F.relu(self.down(words))
        dense = self.dense(tokens[:, 1:].transpose(1, 2)).transpose(1, 2)
        return self.up(torch.cat([2 * tokens[:, :1], dense], dim=1))


class ImageAdapter(nn.Module):
    """Adapter of an image layer, which reads the words (DETRIS, arXiv 2501.08580 [O]). Pads are read, too.

    Args:
        channels: C, width of the image tokens.
        width: Inner channels a.
        text_channels: D, width of the words.
        cross_width: Width of the cross-attention.
        num_heads: Heads of the cross-attention.
        num_prefix: Tokens before the patches: class token and registers.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        text_channels: int,
        cross_width: int = 128,
        num_heads: int = 8,
        num_prefix: int = 5,
    ) -> None:
        super().__init__()
        self.dense = DenseBranches(width, dims=2)
        self.num_prefix = num_prefix
        self.down = nn.Linear(channels, width)
        self.up = nn.Linear(width, channels)
        self.image_proj = nn.Linear(width, cross_width)
        self.text_proj = nn.Linear(text_channels, cross_width)
        self.cross_attention = nn.MultiheadAttention(cross_width, num_heads, dropout=0.1, batch_first=True)
        self.back_proj = nn.Linear(cross_width, width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.constant_(module.bias, 0)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, words: Tensor, size: tuple[int, int]) -> Tensor:
        """The tokens' update.

        Args:
            tokens: (B, prefix + h * w, C).
            words: (B, L, D).
            size: (h, w) of the patches.

        Returns:
            (B, prefix + h * w, C).
        """
        tokens = F.relu(self.down(tokens))
        prefix, patches = tokens[:, : self.num_prefix], tokens[:, self.num_prefix :]
        dense = self.dense(patches.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)
        projected = self.text_proj(words)
        read, _ = self.cross_attention(self.image_proj(dense), projected, projected, need_weights=False)
        return self.up(torch.cat([2 * prefix, self.back_proj(read) + patches], dim=1))
