"""What every decode head has in common: features in, one typed result out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from ..structures import Features

EMPTY = -20.0  # foreground logit of a mask without a target


class ReferringDecodeHead(BaseModule):
    """Base class of decode heads. A subclass writes `forward` and `loss_by_feat`.

    A segmentor calls ``decoded = head(features)`` and then `loss_by_feat` or `predict_by_feat`. `loss` and `predict`
    are these calls with the interface of mmseg's heads, so that a head which reads maps alone also works in an mmseg
    `EncoderDecoder`.

    Args:
        in_channels: Channels C_i of the maps, fine to coarse.
        feat_channels: E, channels of the mask features.
        init_cfg: MMEngine initialisation config.

    Attributes:
        reads_maps: Indices of the maps that it reads; all by default.
        reads_image: Whether it reads `Features.image`.
        reads_words: Whether it reads `Features.words`.
        reads_padding: Whether logits depend on padded words; batches then keep them.
        target_threshold: The mask is empty where `Decoded.target_score` is below.

    Example:
        >>> @MODELS.register_module()
        ... class ExpressionHead(ReferringDecodeHead):
        ...     reads_words = True
        ...
        ...     def __init__(self, in_channels, text_channels, init_cfg=None):
        ...         super().__init__(in_channels, in_channels[0], init_cfg)
        ...         self.kernel = nn.Linear(text_channels, in_channels[0])
        ...         self.reads_maps = (0,)
        ...         self.loss_decode = BCEDiceLoss()
        ...
        ...     def forward(self, inputs):
        ...         features = self.features(inputs)
        ...         kernel = self.kernel(features.words[:, 0])
        ...         logits = torch.einsum('bchw,bc->bhw', features.maps[0], kernel).unsqueeze(1)
        ...         return Decoded(logits=logits, mask_features=features.maps[0])
        ...
        ...     def loss_by_feat(self, decoded, gt_masks):
        ...         return self.loss_decode(self.resize(decoded.logits.float(), gt_masks.shape[2:]), gt_masks)
    """

    align_corners = True
    reads_image = False
    reads_words = False
    reads_padding = False
    target_threshold = 0.5
    # what mmseg's segmentors ask of a head: two classes, told by one channel and a threshold on its sigmoid
    num_classes = 2
    out_channels = 1
    threshold = 0.5

    def __init__(self, in_channels: Sequence[int], feat_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.feat_channels = feat_channels
        self.reads_maps: tuple[int, ...] = tuple(range(len(in_channels)))

    @abstractmethod
    def forward(self, inputs: Features | Sequence[Tensor]) -> Any:
        """Decode features, or maps alone as mmseg's segmentors give them, to a `Decoded`."""

    @abstractmethod
    def loss_by_feat(self, decoded: Any, gt_masks: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            decoded: What `forward` returned.
            gt_masks: (B, 1, H, W) integers: 1 in the mask, 0 outside, 255 unknown.
        """

    def predict_by_feat(self, decoded: Any, size: Sequence[int]) -> Tensor:
        """Foreground logits (B, 1, H, W) in fp32 at a size (H, W); all background where there is no target.

        Args:
            decoded: What `forward` returned.
            size: H and W of the network's input, in pixels.
        """
        logits = foreground_logit(self.resize(decoded.logits.float(), size))
        if decoded.target_score is not None:
            absent = decoded.target_score < self.target_threshold
            logits = logits.masked_fill(absent[:, None, None, None], EMPTY)
        return logits

    def loss(
        self, inputs: Features | Sequence[Tensor], batch_data_samples: list, train_cfg: Any = None
    ) -> dict[str, Tensor]:
        """Losses of a batch; `batch_data_samples` carry `gt_sem_seg` of the input's size."""
        return self.loss_by_feat(self(inputs), torch.stack([sample.gt_sem_seg.data for sample in batch_data_samples]))

    def predict(
        self, inputs: Features | Sequence[Tensor], batch_img_metas: list[dict[str, Any]], test_cfg: Any = None
    ) -> Tensor:
        """Foreground logits (B, 1, H, W) at the size of the network's input (``img_shape``)."""
        return self.predict_by_feat(self(inputs), input_size(batch_img_metas))

    @staticmethod
    def features(inputs: Features | Sequence[Tensor]) -> Features:
        """Features as they are; maps alone as features without words."""
        return inputs if isinstance(inputs, Features) else Features.of_maps(inputs)

    def resize(self, maps: Tensor, size: Sequence[int]) -> Tensor:
        """Maps (B, C, h, w) -> (B, C, H, W), bilinear."""
        return F.interpolate(maps, tuple(size), mode='bilinear', align_corners=self.align_corners)


def foreground_logit(logits: Tensor) -> Tensor:
    """Logits (B, 1, h, w) of the foreground against the background, of one channel or two."""
    return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]


def input_size(batch_img_metas: list[dict[str, Any]]) -> tuple[int, int]:
    """H and W of the network's input, from mmseg's metainfo: ``pad_shape`` or ``img_shape``.

    Under sliding-window inference mmseg hands over the window's size as ``img_shape``, a `torch.Size`, beside the
    ``pad_shape`` of the image.
    """
    shape = batch_img_metas[0]['img_shape']
    if not isinstance(shape, torch.Size):
        shape = batch_img_metas[0].get('pad_shape') or shape
    return shape[0], shape[1]
