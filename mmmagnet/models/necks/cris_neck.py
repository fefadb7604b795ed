"""CRIS's neck: the sentence gates the coarsest map, then three scales become one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import add_coordinates, conv_bn_relu


@MODELS.register_module()
class CRISNeck(BaseModule):
    """Fusion of three maps and the state of an expression (CRIS, arXiv 2111.15174 [O]).

    Args:
        image_channels: Channels of the maps of strides 8, 16 and 32.
        sentence_channels: E, width of the expression's state.
        widths: Inner channels o_3, o_4 and o_5; the result has o_4.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> neck = CRISNeck(image_channels=(128, 256, 32), sentence_channels=32, widths=(16, 32, 64))
        >>> maps = [torch.rand(2, 128, 8, 8), torch.rand(2, 256, 4, 4), torch.rand(2, 32, 2, 2)]
        >>> neck(maps, torch.rand(2, 32))[0].shape
        torch.Size([2, 32, 4, 4])
    """

    reads_padding = False

    def __init__(
        self,
        image_channels: Sequence[int],
        sentence_channels: int,
        widths: Sequence[int] = (256, 512, 1024),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        fine, middle, coarse = widths
        self.out_channels = (middle,)
        self.sentence_proj = nn.Sequential(
            nn.Linear(sentence_channels, coarse, bias=False), nn.BatchNorm1d(coarse), nn.ReLU()
        )
        self.coarse_proj = conv_bn_relu(image_channels[2], coarse)
        self.gate_norm = nn.BatchNorm2d(coarse)
        self.middle_proj = conv_bn_relu(image_channels[1], middle, 3)
        self.middle_mix = conv_bn_relu(middle + coarse, middle)
        self.fine_proj = conv_bn_relu(image_channels[0], fine, 3)
        self.fine_mix = conv_bn_relu(fine + middle, middle)
        self.fine_out = conv_bn_relu(middle, middle, 3)
        self.middle_out = conv_bn_relu(middle, middle, 3)
        self.coarse_out = conv_bn_relu(coarse, middle, 3)
        self.aggregate = conv_bn_relu(3 * middle, middle)
        self.place = nn.Sequential(conv_bn_relu(middle + 2, middle, 3), conv_bn_relu(middle, middle, 3))

    def forward(self, maps: Sequence[Tensor], sentence: Tensor) -> list[Tensor]:
        """Fuse.

        Args:
            maps: (B, C, H_i, W_i) of strides 8, 16 and 32.
            sentence: State of the expression, (B, E).

        Returns:
            One map (B, o_4, H / 16, W / 16).
        """
        state = self.sentence_proj(sentence)[:, :, None, None]
        coarse = F.relu(self.gate_norm(self.coarse_proj(maps[2]) * state))
        middle = self.middle_mix(torch.cat([self.middle_proj(maps[1]), _double(coarse)], dim=1))
        fine = self.fine_mix(torch.cat([F.avg_pool2d(self.fine_proj(maps[0]), 2), middle], dim=1))
        parts = [self.fine_out(fine), self.middle_out(middle), _double(self.coarse_out(coarse))]
        return [self.place(add_coordinates(self.aggregate(torch.cat(parts, dim=1))))]


def _double(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode='bilinear', align_corners=False)
