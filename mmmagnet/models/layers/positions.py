"""Sine position encodings, computed once per size."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # kept for training, where autograd refuses to save a tensor of inference mode
def sine_positions_2d(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """Sine positions of a map, as Mask2Former has them [O].

    The first half of the channels tells y, the second x; both are counted from 1 and normalised to 2 pi; sine and
    cosine alternate over wavelengths of temperature 10000.

    Args:
        height: H of the map.
        width: W of the map.
        channels: A multiple of 4.
        device: Where the result lies.

    Returns:
        (H * W, channels) float32, row by row.

    Raises:
        ValueError: If 4 does not divide `channels`.
    """
    if channels % 4:
        raise ValueError(f'sine positions of a map need a multiple of 4 channels, got {channels}')
    y = torch.arange(1, height + 1, dtype=torch.float32) / (height + 1e-6) * 2 * math.pi
    x = torch.arange(1, width + 1, dtype=torch.float32) / (width + 1e-6) * 2 * math.pi
    along_y = _waves(y, channels // 2)[:, None].expand(height, width, -1)
    along_x = _waves(x, channels // 2)[None].expand(height, width, -1)
    return torch.cat([along_y, along_x], dim=2).flatten(0, 1).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def sine_positions_1d(length: int, channels: int, device: torch.device) -> Tensor:
    """Sine positions of a sequence: (length, channels) float32, counted from 0; `channels` is even."""
    return _waves(torch.arange(length, dtype=torch.float32), channels).to(device)


def _waves(positions: Tensor, channels: int) -> Tensor:
    """(n,) -> (n, channels): sin, cos, sin, cos ... of falling frequency."""
    frequency = 10000 ** (-2 * (torch.arange(channels) // 2) / channels)
    angles = positions[:, None] * frequency
    return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)
