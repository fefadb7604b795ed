"""LAVT's decoder: from the coarsest map up, one scale joined at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from mmmagnet.registry import MODELS


class DecodedLogits(NamedTuple):
    """What `LAVTHead.forward` returns.

    Attributes:
        logits: (B, 2, H_1, W_1), background and foreground.
        mask_features: (B, E, H_1, W_1), which the logits are read from.
    """

    logits: Tensor
    mask_features: Tensor


@MODELS.register_module()
class LAVTHead(BaseDecodeHead):
    """Decoder of LAVT (arXiv 2112.02244; `official_parity` [O]).

    From stage 4 down: upsample (bilinear, corners aligned) to the next finer map, concatenate it, two 3x3 convolutions
    with norm and ReLU; at the end a 1x1 convolution to background and foreground.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        channels: E, width of the decoder. Default: half of the coarsest map's.
        norm_cfg: Norm of the convolutions.
        loss_decode: Losses of mmseg on two classes. Default: cross-entropy weighted 0.9 to 1.1 for the foreground [R].
        init_cfg: As of every MMEngine module.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int | None = None,
        norm_cfg: dict | None = None,
        loss_decode: dict | list[dict] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        width = channels or in_channels[-1] // 2
        super().__init__(
            in_channels=list(in_channels),
            in_index=list(range(len(in_channels))),
            input_transform='multiple_select',
            channels=width,
            num_classes=2,
            out_channels=2,
            dropout_ratio=0.0,
            norm_cfg=norm_cfg or dict(type='BN'),
            align_corners=True,
            loss_decode=loss_decode or dict(type='CrossEntropyLoss', class_weight=[0.9, 1.1], avg_non_ignore=True),
            init_cfg=init_cfg or dict(type='Normal', std=0.01, override=dict(name='conv_seg')),
        )
        self.feat_channels = width
        self.scales = nn.ModuleList()  # coarse to fine
        incoming = in_channels[-1]
        for finer in reversed(in_channels[:-1]):
            self.scales.append(
                nn.Sequential(
                    ConvModule(incoming + finer, width, 3, padding=1, norm_cfg=self.norm_cfg),
                    ConvModule(width, width, 3, padding=1, norm_cfg=self.norm_cfg),
                )
            )
            incoming = width

    def forward(self, inputs: Sequence[Tensor]) -> DecodedLogits:
        """Decode feature maps (B, C_i, H_i, W_i), fine to coarse."""
        decoded = inputs[-1]
        for scale, finer in zip(self.scales, reversed(inputs[:-1]), strict=True):
            decoded = F.interpolate(decoded, finer.shape[2:], mode='bilinear', align_corners=True)
            decoded = scale(torch.cat([decoded, finer], dim=1))
        return DecodedLogits(self.cls_seg(decoded), decoded)

    def loss_by_feat(self, seg_logits: DecodedLogits, batch_data_samples: list) -> dict[str, Tensor]:
        """Losses at the size of the ground truth."""
        return super().loss_by_feat(seg_logits.logits, batch_data_samples)

    def predict_by_feat(self, seg_logits: DecodedLogits, batch_img_metas: list[dict]) -> Tensor:
        """Logits (B, 2, H, W) at the size of the network's input."""
        return super().predict_by_feat(seg_logits.logits, batch_img_metas)
