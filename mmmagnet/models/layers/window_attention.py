"""Swin's blocks: self-attention inside windows that shift from block to block."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn


class WindowAttention(nn.Module):
    """Multi-head self-attention in M x M windows with a learned bias per relative position (Swin, eq. 4).

    Args:
        width: Channels C.
        num_heads: Heads h.
        window_size: M.
        shift: Whether windows are moved by M // 2, wrapping around (attention across the wrap is masked).

    Raises:
        ValueError: If `num_heads` does not divide `width`.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, num_heads: int, window_size: int, shift: bool) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f'num_heads {num_heads} does not divide the {width} channels of a Swin block')
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift_size = window_size // 2 if shift else 0
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer('relative_position_index', relative_position_index(window_size), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, H, W, C) -> (B, H, W, C). Sides that M does not divide are padded right and below."""
        batch, height, width, channels = image.shape
        size, shift = self.window_size, self.shift_size
        qkv = pad_tokens(self.qkv(image), -height % size, -width % size, self.qkv.bias)
        if shift:
            qkv = qkv.roll((-shift, -shift), dims=(1, 2))
        rows, columns = qkv.shape[1] // size, qkv.shape[2] // size

        # (B, rows, M, columns, M, 3, heads, c) -> q, k, v of (B * windows, heads, M * M, c): four axes are fused.
        # Shifted windows differ in what they mask, images do not: (B, windows * heads, M * M, c)
        windows, heads = rows * columns, self.num_heads
        groups = (batch, windows * heads) if shift else (batch * windows, heads)
        qkv = qkv.view(batch, rows, size, columns, size, 3, heads, -1)
        query, key, value = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, *groups, size * size, -1).unbind(0)

        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).to(query.dtype)
        if shift:
            mask = shift_mask(rows * size, columns * size, size, shift, image.device).to(query.dtype)
            bias = (bias + mask.unsqueeze(1)).flatten(0, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.unsqueeze(0))

        attended = attended.reshape(batch, rows, columns, heads, size, size, -1)
        attended = attended.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, rows * size, columns * size, channels)
        if shift:
            attended = attended.roll((shift, shift), dims=(1, 2))
        return self.proj(attended[:, :height, :width])


class SwinBlock(nn.Module):
    """Pre-norm window attention and MLP, each on a residual path (Swin, eq. 3).

    Args:
        width: Channels C.
        num_heads: Attention heads.
        window_size: M.
        shift: Whether this block's windows are shifted.
        mlp_ratio: Hidden width of the MLP over C.
        drop_path: Probability of dropping a residual path of a sample in training.
    """

    def __init__(
        self, width: int, num_heads: int, window_size: int, shift: bool, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, num_heads, window_size, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, int(width * mlp_ratio)), nn.GELU(), nn.Linear(int(width * mlp_ratio), width)
        )
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, H, W, C) -> (B, H, W, C)."""
        image = image + self.drop_path(self.attn(self.norm1(image)))
        return image + self.drop_path(self.mlp(self.norm2(image)))


def pad_tokens(tokens: Tensor, bottom: int, right: int, bias: Tensor) -> Tensor:
    """Pad a map (B, H, W, C) below and to the right with `bias`, which is what a linear layer makes of zeros."""
    batch, height, width, _ = tokens.shape
    bias = bias.to(tokens.dtype)
    if right:
        tokens = torch.cat([tokens, bias.expand(batch, height, right, -1)], dim=2)
    if bottom:
        tokens = torch.cat([tokens, bias.expand(batch, bottom, width + right, -1)], dim=1)
    return tokens


def relative_position_index(size: int) -> Tensor:
    """Row of the bias table for each pair of positions of a window: (M * M, M * M) int64."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing='ij')
    y, x = y.flatten(), x.flatten()
    return (y[:, None] - y + size - 1) * (2 * size - 1) + x[:, None] - x + size - 1


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for training, where autograd refuses to save a tensor of inference mode
def shift_mask(height: int, width: int, size: int, shift: int, device: torch.device) -> Tensor:
    """What must not attend to each other in shifted windows, because the map was wrapped around.

    Args:
        height: H of the padded map, a multiple of `size`.
        width: W of the padded map, a multiple of `size`.
        size: M.
        shift: How far the map was rolled up and left.
        device: Where the result lies.

    Returns:
        (windows, M * M, M * M) float32: 0 where two positions belong together, -100 where they do not.
    """
    # the band of three that a row or column lies in; positions of different bands were not neighbours before
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    y = (y >= height - size).int() + (y >= height - shift).int()
    x = (x >= width - size).int() + (x >= width - shift).int()
    band = (
        (3 * y[:, None] + x)
        .view(height // size, size, width // size, size)
        .permute(0, 2, 1, 3)
        .flatten(2)
        .flatten(0, 1)
    )
    return (band[:, :, None] != band[:, None, :]) * -100.0
