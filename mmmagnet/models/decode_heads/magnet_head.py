"""MagNet's decoder: Mask2Former with one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmagnet.registry import MODELS

from ..layers import PixelDecoder, QueryDecoder, QueryPrediction, freeze
from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@dataclass(kw_only=True)
class MagNetDecoded(Decoded):
    """A `Decoded` with the predictions of all layers.

    Attributes:
        predictions: One `QueryPrediction` before the first decoder layer and one after each; the last is final.
    """

    predictions: list[QueryPrediction]


@MODELS.register_module()
class MagNetHead(ReferringDecodeHead):
    """Pixel decoder over four scales and a masked-attention decoder of one query [O].

    With `no_target` an expression may mean nothing in the image [R: the release ignores its class logits]. The two
    class logits of a prediction then say whether there is a target, as Mask2Former's do (class 0 = there, class 1 = no
    object). They learn it by `loss_target`, the sum over all predictions but the first, whose query has seen nothing
    yet. Masks are learned as ever: the BCE of an empty one draws every pixel to background. Its Dice is at most 1 and
    almost constant until the prediction is nearly empty. A mask is empty if it has no pixel at the network's
    input size. Without `no_target` the class logits have no loss, and their weights are frozen.

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
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = MagNetHead((8, 16, 32, 64), feat_channels=32, num_groups=8, decoder_layers=3)
        >>> maps = [torch.rand(2, 8 * 2**i, 32 // 2**i, 32 // 2**i) for i in range(4)]
        >>> head(maps).logits.shape
        torch.Size([2, 1, 32, 32])
    """

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
        super().__init__(in_channels, feat_channels, init_cfg)
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
        if not no_target:
            freeze(self.query_decoder.class_embed)

    def forward(self, inputs: Features | Sequence[Tensor]) -> MagNetDecoded:
        """Decode maps (B, C_i, H_i, W_i), fine to coarse; `logits` are (B, 1, H_1, W_1)."""
        mask_features, scales = self.pixel_decoder(self.features(inputs).maps)
        predictions = self.query_decoder(mask_features, scales)
        final = predictions[-1]
        return MagNetDecoded(
            logits=final.masks,
            mask_features=mask_features,
            target_score=final.classes[:, 0].float().softmax(1)[:, 0] if self.no_target else None,
            predictions=predictions,
        )

    def loss_by_feat(self, decoded: MagNetDecoded, gt_masks: Tensor) -> dict[str, Tensor]:
        """Loss of every prediction at the size of the masks; see `ReferringDecodeHead.loss_by_feat`."""
        logits = torch.cat([prediction.masks for prediction in decoded.predictions], dim=1)
        losses = self.loss_decode(self.resize(logits.float(), gt_masks.shape[2:]), gt_masks)
        if decoded.target_score is None:
            return losses
        absent = ~(gt_masks == 1).flatten(1).any(1)
        informed = torch.cat([prediction.classes for prediction in decoded.predictions[1:]], dim=1).float()
        target = absent.long().repeat_interleave(informed.shape[1])
        entropy = F.cross_entropy(informed.flatten(0, 1), target)
        losses['loss_target'] = self.target_loss_weight * informed.shape[1] * entropy
        found = decoded.target_score >= self.target_threshold
        losses['acc_target'] = 100 * (found != absent).float().mean()
        return losses
