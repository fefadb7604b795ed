"""LAVT's decoder: from the coarsest map up, one scale joined at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from .input_size import input_size


class DecodedLogits(NamedTuple):
    """What `LAVTHead.forward` returns.

    Attributes:
        logits: (B, 2, H_1, W_1), background and foreground.
        mask_features: (B, E, H_1, W_1), which the logits are read from.
    """

    logits: Tensor
    mask_features: Tensor


@MODELS.register_module()
class LAVTHead(BaseModule):
    """Decoder of LAVT (arXiv 2112.02244; docs/paper.md [O]), with the interface of an mmseg decode head.

    From stage 4 down: upsample (bilinear, corners aligned) to the next finer map, concatenate it, two 3x3 convolutions
    with norm and ReLU; at the end a 1x1 convolution to background and foreground.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        feat_channels: E, width of the decoder. Default: half of the coarsest map's.
        norm_cfg: Norm of the convolutions.
        loss_decode: Loss of the logits. Default: `CEDiceLoss`.
        init_cfg: As of every MMEngine module.
    """

    align_corners = True
    num_classes = 2
    out_channels = 2

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int | None = None,
        norm_cfg: dict | None = None,
        loss_decode: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.feat_channels = width = feat_channels or in_channels[-1] // 2
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
        self.classify = nn.Conv2d(width, self.out_channels, 1)
        self.loss_decode = MODELS.build(loss_decode or dict(type='CEDiceLoss'))

    def forward(self, inputs: Sequence[Tensor]) -> DecodedLogits:
        """Decode feature maps (B, C_i, H_i, W_i), fine to coarse."""
        decoded = inputs[-1]
        for scale, finer in zip(self.scales, reversed(inputs[:-1]), strict=True):
            decoded = self._resize(decoded, finer.shape[2:])
            decoded = scale(torch.cat([decoded, finer], dim=1))
        return DecodedLogits(self.classify(decoded), decoded)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: Any = None) -> dict[str, Tensor]:
        """Losses of a batch; `batch_data_samples` carry `gt_sem_seg` of the input's size."""
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)

    def loss_by_feat(self, decoded: DecodedLogits, batch_data_samples: list) -> dict[str, Tensor]:
        """Loss of the logits, at the size of the ground truth."""
        labels = torch.stack([sample.gt_sem_seg.data for sample in batch_data_samples])
        return self.loss_decode(self._resize(decoded.logits.float(), labels.shape[2:]), labels)

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: Any = None) -> Tensor:
        """Logits (B, 2, H, W) at the size of the network's input (`img_shape`)."""
        return self._resize(self.forward(inputs).logits.float(), input_size(batch_img_metas))

    def _resize(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=self.align_corners)
