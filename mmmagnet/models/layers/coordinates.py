"""Two channels that tell a convolution where it is."""

from __future__ import annotations

import torch
from torch import Tensor


def add_coordinates(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C + 2, H, W): x and y, each linear from -1 at the first to 1 at the last column or row."""
    batch, _, height, width = image.shape
    x = torch.linspace(-1, 1, width, device=image.device, dtype=image.dtype).expand(batch, 1, height, width)
    y = torch.linspace(-1, 1, height, device=image.device, dtype=image.dtype)[:, None].expand(batch, 1, height, width)
    return torch.cat([image, x, y], dim=1)
