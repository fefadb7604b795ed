"""ReLA's decode head: regions of the image read words and vote for one mask, or for none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmagnet.registry import MODELS

from ..layers import FPNPixelDecoder, RegionDecoder, RegionPrediction
from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@dataclass(kw_only=True)
class DecodedRegions(Decoded):
    """What `ReLAHead.forward` returns.

    Attributes:
        prediction: Logits of the mask, of the minimap and of the absence of a target.
    """

    prediction: RegionPrediction


@MODELS.register_module()
class ReLAHead(ReferringDecodeHead):
    """Decode head of ReLA (GRES, arXiv 2306.00968 [O]), for expressions with several targets, one or none.

    Args:
        in_channels: Channels C_i of the feature maps, fine to coarse.
        text_channels: D, width of the words.
        feat_channels: E, width of the decoder.
        num_queries: Q, number of regions; a square number.
        num_heads: Heads of all attentions.
        num_points: Points of the deformable attention per head and scale.
        pixel_decoder_layers: Number of deformable layers.
        pixel_decoder_ffn: Hidden width of their FFNs.
        decoder_layers: Number of region layers.
        decoder_ffn: Hidden width of their FFNs.
        num_groups: Groups of the GroupNorms.
        region_weight: Factor of the words' update of the regions.
        official_compat: Whether regions attend to padded words too, as in the release.
        class_weight: Weights of background and foreground in all three cross-entropies.
        loss_weight: Factor of the whole loss.
        minimap_loss_weight: Weight of the minimap's cross-entropy.
        target_loss_weight: Weight of the cross-entropy that tells whether there is a target.
        target_threshold: The mask is emptied where the target score is below. The release never empties it: set 0.
        init_cfg: MMEngine initialisation config.

    Raises:
        ValueError: If `num_queries` is no square number.

    Example:
        >>> head = ReLAHead(in_channels=(32, 64, 128, 256), text_channels=48, feat_channels=64, decoder_layers=3)
        >>> maps = [torch.rand(2, 32 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(4)]
        >>> words, word_mask = torch.rand(2, 7, 48), torch.ones(2, 7, dtype=torch.long)
        >>> head(Features(maps, maps[-1].permute(0, 2, 3, 1), words, word_mask)).target_score.shape
        torch.Size([2])
    """

    align_corners = False
    reads_words = True

    def __init__(
        self,
        in_channels: Sequence[int],
        text_channels: int,
        feat_channels: int = 256,
        num_queries: int = 100,
        num_heads: int = 8,
        num_points: int = 4,
        pixel_decoder_layers: int = 6,
        pixel_decoder_ffn: int = 1024,
        decoder_layers: int = 9,
        decoder_ffn: int = 2048,
        num_groups: int = 32,
        region_weight: float = 0.1,
        official_compat: bool = False,
        class_weight: Sequence[float] = (0.9, 1.1),
        loss_weight: float = 5.0,
        minimap_loss_weight: float = 0.1,
        target_loss_weight: float = 0.1,
        target_threshold: float = 0.5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(in_channels, feat_channels, init_cfg)
        self.target_threshold = target_threshold
        self.side = round(num_queries**0.5)
        if self.side**2 != num_queries:
            raise ValueError(f'ReLAHead: num_queries={num_queries} is no square number, which a grid of regions needs')
        self.pixel_decoder = FPNPixelDecoder(
            in_channels, feat_channels, pixel_decoder_layers, num_heads, num_points, pixel_decoder_ffn, num_groups
        )
        self.region_decoder = RegionDecoder(
            feat_channels,
            text_channels,
            num_queries,
            decoder_layers,
            num_heads,
            decoder_ffn,
            region_weight,
            official_compat,
        )
        self.reads_padding = official_compat
        self.loss_weight = loss_weight
        self.minimap_loss_weight = minimap_loss_weight
        self.target_loss_weight = target_loss_weight
        self.loss_decode = MODELS.build(dict(type='CEDiceLoss', ce_weight=loss_weight, class_weight=class_weight))
        self.register_buffer('class_weight', torch.tensor(class_weight), persistent=False)

    def forward(self, inputs: Features | Sequence[Tensor]) -> DecodedRegions:
        """Decode features."""
        features = self.features(inputs)
        mask_features, scales = self.pixel_decoder(features.maps)
        prediction = self.region_decoder(mask_features, scales, features.words, features.word_mask)
        score = prediction.no_target.float().softmax(1)[:, 0]
        return DecodedRegions(
            logits=prediction.masks, mask_features=mask_features, target_score=score, prediction=prediction
        )

    def loss_by_feat(self, decoded: DecodedRegions, gt_masks: Tensor) -> dict[str, Tensor]:
        """Cross-entropies of the mask at the size of the ground truth, of the minimap and of the target."""
        losses = self.loss_decode(self.resize(decoded.logits.float(), gt_masks.shape[2:]), gt_masks)
        minimap = decoded.prediction.minimap.float().flatten(0, 1)
        covered = minimap_target(gt_masks, self.side)
        losses['loss_minimap'] = (
            self.loss_weight * self.minimap_loss_weight * self._cross_entropy(minimap, covered.flatten())
        )
        absent = ~(gt_masks == 1).flatten(1).any(1)
        no_target = decoded.prediction.no_target.float()
        losses['loss_target'] = (
            self.loss_weight * self.target_loss_weight * self._cross_entropy(no_target, absent.long())
        )
        losses['acc_target'] = 100 * ((no_target[:, 1] > no_target[:, 0]) == absent).float().mean()
        return losses

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, self.class_weight.to(logits.dtype))


def minimap_target(gt_masks: Tensor, side: int) -> Tensor:
    """Which regions the mask covers: those where every pixel that the bilinear reduction reads is in the mask.

    Args:
        gt_masks: (B, 1, H, W), 1 in the mask.
        side: Number of regions along each side.

    Returns:
        (B, side * side) int64, row by row.
    """
    mask = (gt_masks == 1).float()
    covered = F.interpolate(mask, (side, side), mode='bilinear', align_corners=False)
    return (covered >= 1 - 1e-4).flatten(1).long()
