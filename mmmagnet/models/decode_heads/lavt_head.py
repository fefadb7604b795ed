"""LAVT's decoder: from the coarsest map up, one scale joined at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@MODELS.register_module()
class LAVTHead(ReferringDecodeHead):
    """Decoder of LAVT (arXiv 2112.02244; [O]).

    From stage 4 down it upsamples (bilinear, corners aligned) to the next finer map, concatenates that map, and applies
    two 3x3 convolutions with norm and ReLU. A 1x1 convolution gives background and foreground.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        feat_channels: E, width of the decoder. Default: half of the coarsest map's.
        norm_cfg: Norm of the convolutions.
        loss_decode: Loss of the logits. Default: `CEDiceLoss`.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = LAVTHead((8, 16, 32))
        >>> head([torch.rand(2, 8, 16, 16), torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)]).logits.shape
        torch.Size([2, 2, 16, 16])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int | None = None,
        norm_cfg: dict | None = None,
        loss_decode: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        width = feat_channels or in_channels[-1] // 2
        super().__init__(in_channels, width, init_cfg)
        norm = norm_cfg or dict(type='BN')
        self.scales = nn.ModuleList()  # coarse to fine
        incoming = in_channels[-1]
        for finer in reversed(in_channels[:-1]):
            self.scales.append(
                nn.Sequential(
                    ConvModule(incoming + finer, width, 3, padding=1, norm_cfg=norm),
                    ConvModule(width, width, 3, padding=1, norm_cfg=norm),
                )
            )
            incoming = width
        self.classify = nn.Conv2d(width, 2, 1)
        self.loss_decode = MODELS.build(loss_decode or dict(type='CEDiceLoss'))

    def forward(self, inputs: Features | Sequence[Tensor]) -> Decoded:
        """Decode maps (B, C_i, H_i, W_i), fine to coarse; `logits` are (B, 2, H_1, W_1)."""
        maps = self.features(inputs).maps
        if maps[0].device.type == 'cpu':  # tokens seen as maps have their channels last, which is slower there
            maps = [feature.contiguous() for feature in maps]
        decoded = maps[-1]
        for scale, finer in zip(self.scales, reversed(maps[:-1]), strict=True):
            decoded = self.resize(decoded, finer.shape[2:])
            decoded = scale(torch.cat([decoded, finer], dim=1))
        return Decoded(logits=self.classify(decoded), mask_features=decoded)

    def loss_by_feat(self, decoded: Decoded, gt_masks: Tensor) -> dict[str, Tensor]:
        """Loss of the logits at the size of the masks; see `ReferringDecodeHead.loss_by_feat`."""
        return self.loss_decode(self.resize(decoded.logits.float(), gt_masks.shape[2:]), gt_masks)
