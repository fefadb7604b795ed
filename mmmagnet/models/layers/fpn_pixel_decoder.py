"""Pixel decoder of ReLA: deformable layers over three scales, then one step to the finest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from .pixel_decoder import PixelDecoder


class LateralStep(nn.Module):
    """One step of a feature pyramid to the finest map: add the coarser map to its projection, then a 3x3 convolution.

    Args:
        in_channels: Channels C_1 of the finest map.
        width: Channels E of the coarser map and of the result.
        num_groups: Groups of both GroupNorms.
    """

    def __init__(self, in_channels: int, width: int, num_groups: int = 32) -> None:
        super().__init__()
        norm = dict(type='GN', num_groups=num_groups)
        self.lateral = ConvModule(in_channels, width, 1, norm_cfg=norm, act_cfg=None)
        self.output = ConvModule(width, width, 3, padding=1, norm_cfg=norm)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps (B, C_1, H_1, W_1) and (B, E, H_2, W_2) -> (B, E, H_1, W_1)."""
        coarse = F.interpolate(coarse, fine.shape[2:], mode='bilinear', align_corners=False)
        return self.output(self.lateral(fine) + coarse)


class FPNPixelDecoder(PixelDecoder):
    """`PixelDecoder` whose deformable layers mix the three coarser scales; the finest joins by a `LateralStep`.

    ReLA's pixel decoder (arXiv 2306.00968 [O]).

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        width: Channels E of all results.
        num_layers: Number of deformable layers.
        num_heads: Heads of each.
        num_points: Points per head and scale.
        ffn_width: Hidden width of their FFNs.
        num_groups: Groups of the GroupNorms.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        ffn_width: int = 1024,
        num_groups: int = 32,
    ) -> None:
        super().__init__(in_channels[1:], width, num_layers, num_heads, num_points, ffn_width, num_groups)
        self.finest = LateralStep(in_channels[0], width, num_groups)
        for convolution in (self.finest.lateral.conv, self.finest.output.conv, self.mask_features):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        nn.init.constant_(self.mask_features.bias, 0)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Mix the scales.

        Args:
            features: Maps (B, C_i, H_i, W_i), fine to coarse.

        Returns:
            Mask features (B, E, H_1, W_1), and the three coarser maps (B, E, H_i, W_i) from coarse to fine.
        """
        with torch.autocast(features[0].device.type, enabled=False):  # points are too coarse in half precision
            features = [feature.to(self.mask_features.weight.dtype) for feature in features]
            outputs = self.mix(features[1:])
            return self.mask_features(self.finest(features[0], outputs[-1])), outputs
