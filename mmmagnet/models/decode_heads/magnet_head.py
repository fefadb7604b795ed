"""MagNet's decoder: Mask2Former with one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmmagnet.registry import MODELS

from ..layers import PixelDecoder, QueryDecoder, QueryPrediction
from .input_size import input_size


class DecodedMasks(NamedTuple):
    """What `MagNetHead.forward` returns.

    Attributes:
        predictions: One `QueryPrediction` before the first decoder layer and one after each; the last is final.
        mask_features: (B, E, H_1, W_1), which the masks are read from.
    """

    predictions: list[QueryPrediction]
    mask_features: Tensor


@MODELS.register_module()
class MagNetHead(BaseModule):
    """Pixel decoder over four scales and a masked-attention decoder of one query (docs/paper.md [O]).

    It has the interface of an mmseg decode head (`loss`, `predict`), with one channel of foreground logits.

    With `no_target` an expression may mean nothing in the image [R: the release ignores its class logits]: the two
    class logits of a prediction say whether there is a target, as Mask2Former's do (class 0 = there, the last class =
    no object), and learn it by `loss_target`, summed over the predictions but the first, whose query has seen nothing
    yet. Masks are learned as ever: an empty one draws every pixel to background by its BCE, while its Dice is at most 1
    and hardly more than a constant until the prediction is almost empty. What counts as empty is the mask at the
    network's input size.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        feat_channels: E, width of the decoder.
        num_heads: Heads of all attentions.
        num_points: Points of the deformable attention per head and scale.
        pixel_decoder_layers: Deformable layers.
        pixel_decoder_ffn: Hidden width of their FFNs.
        decoder_layers: Layers of the query decoder.
        decoder_ffn: Hidden width of their FFNs.
        num_groups: Groups of the GroupNorms.
        loss_decode: The loss of each prediction.
        no_target: Whether expressions may have no target.
        target_threshold: With `no_target`: the mask is empty where the probability of a target is below.
        target_loss_weight: With `no_target`: weight of the cross-entropy of the class logits [R].
        with_cp: Activation checkpointing of its deformable layers: they run again in the backward pass.
        init_cfg: As of every MMEngine module.
    """

    align_corners = True
    num_classes = 2
    out_channels = 1
    threshold = 0.5

    def __init__(
        self,
        in_channels: Sequence[int],
        feat_channels: int = 256,
        num_heads: int = 8,
        num_points: int = 4,
        pixel_decoder_layers: int = 4,
        pixel_decoder_ffn: int = 1024,
        decoder_layers: int = 9,
        decoder_ffn: int = 2048,
        num_groups: int = 32,
        loss_decode: dict | None = None,
        no_target: bool = False,
        target_threshold: float = 0.5,
        target_loss_weight: float = 1.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.feat_channels = feat_channels
        self.pixel_decoder = PixelDecoder(
            in_channels,
            feat_channels,
            pixel_decoder_layers,
            num_heads,
            num_points,
            pixel_decoder_ffn,
            num_groups,
            with_cp,
        )
        self.query_decoder = QueryDecoder(
            feat_channels, 1, decoder_layers, num_heads, decoder_ffn, num_classes=self.num_classes
        )
        self.loss_decode = MODELS.build(loss_decode or dict(type='BCEDiceLoss'))
        self.no_target = no_target
        self.target_threshold = target_threshold
        self.target_loss_weight = target_loss_weight

    def forward(self, inputs: Sequence[Tensor]) -> DecodedMasks:
        """Decode feature maps (B, C_i, H_i, W_i), fine to coarse."""
        mask_features, scales = self.pixel_decoder(inputs)
        return DecodedMasks(self.query_decoder(mask_features, scales), mask_features)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: list, train_cfg: Any = None) -> dict[str, Tensor]:
        """Losses of a batch; `batch_data_samples` carry `gt_sem_seg` of the input's size."""
        return self.loss_by_feat(self.forward(inputs), batch_data_samples)

    def loss_by_feat(self, decoded: DecodedMasks, batch_data_samples: list) -> dict[str, Tensor]:
        """Loss of every prediction, at the size of the ground truth."""
        labels = torch.stack([sample.gt_sem_seg.data for sample in batch_data_samples])
        logits = torch.cat([prediction.masks for prediction in decoded.predictions], dim=1)
        logits = F.interpolate(logits.float(), labels.shape[2:], mode='bilinear', align_corners=self.align_corners)
        losses = self.loss_decode(logits, labels)
        classes = torch.cat([prediction.classes for prediction in decoded.predictions], dim=1).float()
        if not self.no_target:
            # the class logits have no loss; kept in the graph so that DDP sees their gradient (zero)
            first = next(name for name in losses if 'loss' in name)
            losses[first] = losses[first] + 0 * classes.sum()
            return losses
        absent = ~(labels == 1).flatten(1).any(1)
        informed = classes[:, 1:]  # (B, P - 1, 2)
        target = absent.long().repeat_interleave(informed.shape[1])
        entropy = F.cross_entropy(informed.flatten(0, 1), target)
        losses['loss_target'] = self.target_loss_weight * informed.shape[1] * entropy
        found = self.target_scores(decoded) >= self.target_threshold
        losses['acc_target'] = 100 * (found != absent).float().mean()
        return losses

    def predict(self, inputs: Sequence[Tensor], batch_img_metas: list[dict], test_cfg: Any = None) -> Tensor:
        """Foreground logits (B, 1, H, W) at the size of the network's input (`img_shape`)."""
        return self.predict_by_feat(self.forward(inputs), batch_img_metas)

    def predict_by_feat(self, decoded: DecodedMasks, batch_img_metas: list[dict]) -> Tensor:
        """`predict` of what `forward` returned; all background where there is no target."""
        masks = decoded.predictions[-1].masks.float()
        if self.no_target:
            absent = self.target_scores(decoded) < self.target_threshold
            masks = masks.masked_fill(absent[:, None, None, None], -20.0)
        return F.interpolate(masks, input_size(batch_img_metas), mode='bilinear', align_corners=self.align_corners)

    def target_scores(self, decoded: DecodedMasks) -> Tensor:
        """Probability (B,) that there is a target, of the final prediction."""
        return decoded.predictions[-1].classes[:, 0].float().softmax(1)[:, 0]
