"""DETRIS's neck: the expression's state gates three maps of one size, which become one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import add_coordinates, conv_bn_relu


@MODELS.register_module()
class DETRISNeck(BaseModule):
    """Fusion of three maps of one size and the state of an expression (DETRIS, arXiv 2501.08580 [O]).

    The release gates by an attention over a single token, whose softmax is 1: two linear layers of the state remain.

    Args:
        image_channels: Channels of the three maps.
        sentence_channels: E, width of the expression's state.
        width: C, channels of the result.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> neck = DETRISNeck(image_channels=(48, 48, 48), sentence_channels=32, width=16)
        >>> neck([torch.rand(2, 48, 4, 4)] * 3, torch.rand(2, 32))[0].shape
        torch.Size([2, 16, 4, 4])
    """

    reads_padding = False

    def __init__(
        self,
        image_channels: Sequence[int],
        sentence_channels: int,
        width: int = 512,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = (width,)
        self.sentence_proj = nn.Linear(sentence_channels, width)
        self.projections = nn.ModuleList(conv_bn_relu(channels, width) for channels in image_channels)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.Linear(width, width)) for _ in image_channels
        )
        self.aggregate = conv_bn_relu(len(image_channels) * width, width)
        self.place = nn.Sequential(conv_bn_relu(width + 2, width, 3), conv_bn_relu(width, width, 3))

    def forward(self, maps: Sequence[Tensor], sentence: Tensor) -> list[Tensor]:
        """Fuse.

        Args:
            maps: Three maps (B, C_i, h, w).
            sentence: State of the expression, (B, E).

        Returns:
            One map (B, C, h, w).
        """
        state = self.sentence_proj(sentence)
        gated = [
            projection(image) * gate(state)[:, :, None, None]
            for projection, gate, image in zip(self.projections, self.gates, maps, strict=True)
        ]
        fused = self.aggregate(torch.cat(gated, dim=1))
        return [fused + self.place(add_coordinates(fused))]
