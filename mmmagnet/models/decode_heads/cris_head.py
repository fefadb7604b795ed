"""CRIS's decode head: places read words, then the expression's own kernel reads the mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import CrossDecoder, conv_bn_relu
from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@MODELS.register_module()
class CRISHead(ReferringDecodeHead):
    """Decode head of CRIS (arXiv 2111.15174 [O]) and of DETRIS (arXiv 2501.08580 [O]).

    Args:
        in_channels: Channels C of the map; it is as wide as the words.
        sentence_channels: E, width of the expression's state.
        num_layers: Number of decoder layers.
        num_heads: Heads of all attentions.
        ffn_width: Hidden width of the FFNs.
        dropout: Dropout of the decoder.
        threshold: Probability above which a pixel is in the mask [O].
        init_cfg: MMEngine initialisation config.

    Example:
        >>> head = CRISHead(in_channels=(32,), sentence_channels=16, num_layers=1, num_heads=4, ffn_width=64)
        >>> maps, words = [torch.rand(2, 32, 4, 4)], torch.rand(2, 7, 32)
        >>> word_mask = torch.ones(2, 7, dtype=torch.long)
        >>> head(Features(maps, maps[0].permute(0, 2, 3, 1), words, word_mask, torch.rand(2, 16))).logits.shape
        torch.Size([2, 1, 16, 16])
    """

    align_corners = False
    reads_words = True

    def __init__(
        self,
        in_channels: Sequence[int],
        sentence_channels: int,
        num_layers: int = 3,
        num_heads: int = 8,
        ffn_width: int = 2048,
        dropout: float = 0.1,
        threshold: float = 0.35,
        init_cfg: dict | None = None,
    ) -> None:
        width = in_channels[-1]
        super().__init__(in_channels, width // 2, init_cfg)
        self.threshold = threshold
        self.decoder = CrossDecoder(width, num_layers, num_heads, ffn_width, dropout)
        self.project = nn.Sequential(
            nn.Upsample(scale_factor=2, mode='bilinear'),
            conv_bn_relu(width, width, 3),
            nn.Upsample(scale_factor=2, mode='bilinear'),
            conv_bn_relu(width, width // 2, 3),
            nn.Conv2d(width // 2, width // 2, 1),
        )
        self.kernel = nn.Linear(sentence_channels, 9 * (width // 2) + 1)

    def forward(self, inputs: Features | Sequence[Tensor]) -> Decoded:
        """Decode features."""
        features = self.features(inputs)
        projected = self.project(self.decoder(features.maps[-1], features.words, features.word_mask))
        return Decoded(logits=apply_kernels(projected, self.kernel(features.sentence)), mask_features=projected)

    def loss_by_feat(self, decoded: Decoded, gt_masks: Tensor) -> dict[str, Tensor]:
        """Mean binary cross-entropy at the size of the logits. The truth may be soft, 0 to 1; 255 counts as 0."""
        target = soft_target(gt_masks, decoded.logits.shape[2:])
        return {'loss_bce': F.binary_cross_entropy_with_logits(decoded.logits.float(), target)}


def soft_target(gt_masks: Tensor, size: Sequence[int]) -> Tensor:
    """Masks (B, 1, H, W), integers or soft floats, at a size (h, w): float32 of the nearest pixel, rounded down."""
    target = gt_masks if gt_masks.is_floating_point() else (gt_masks == 1).float()
    return F.interpolate(target.float(), tuple(size), mode='nearest')


def apply_kernels(image: Tensor, kernels: Tensor) -> Tensor:
    """Cross-correlate each map with its own 3x3 kernel.

    Args:
        image: (B, C, H, W).
        kernels: (B, 9 C + 1), a kernel in the order channel, row, column, then its bias.

    Returns:
        (B, 1, H, W).
    """
    weight, bias = kernels[:, :-1].unflatten(1, (image.shape[1], 9)), kernels[:, -1]
    # what each of the nine places of a kernel sees, then moved to where it counts; a convolution of B groups would
    # fix the size of the batch in an exported graph
    seen = torch.einsum('bchw,bck->bkhw', image, weight)
    moves = torch.eye(9, dtype=seen.dtype, device=seen.device).view(1, 9, 3, 3)
    return F.conv2d(seen, moves, padding=1) + bias[:, None, None, None]
