"""A convolution, its BatchNorm and a ReLU, from PyTorch's default initialisation."""

from __future__ import annotations

from torch import nn


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int = 1) -> nn.Sequential:
    """A convolution without bias that keeps the size, BatchNorm and ReLU.

    mmcv's ConvModule has the same parts, but initialises them its own way.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
