"""Query decoder: learned queries read the scales through their own masks (Mask2Former)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .positions import sine_positions_2d


class QueryPrediction(NamedTuple):
    """What the queries say after some layer: `masks` (B, Q, H_1, W_1) logits and `classes` (B, Q, K) logits."""

    masks: Tensor
    classes: Tensor


class QueryDecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, FFN; all post-norm.

    Args:
        width: Channels E.
        num_heads: Heads of both attentions.
        ffn_width: Hidden width of the FFN.
    """

    def __init__(self, width: int, num_heads: int, ffn_width: int) -> None:
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.self_norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ffn_width)
        self.linear2 = nn.Linear(ffn_width, width)
        self.ffn_norm = nn.LayerNorm(width)

    def forward(self, query: Tensor, query_embed: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """Update the queries.

        Args:
            query: (B, Q, E).
            query_embed: (Q, E), added wherever queries act as queries or keys.
            key: (B, N, E).
            value: (B, N, E).
            hidden: (B * heads, Q, N) bool, True where a query may not look.

        Returns:
            (B, Q, E).
        """
        return self.exchange(self.read(query, query_embed, key, value, hidden), query_embed)

    def read(self, query: Tensor, query_embed: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """The masked cross-attention alone."""
        read, _ = self.cross_attention(query + query_embed, key, value, attn_mask=hidden, need_weights=False)
        return self.cross_norm(query + read)

    def exchange(self, query: Tensor, query_embed: Tensor) -> Tensor:
        """The self-attention and the FFN."""
        placed = query + query_embed
        read, _ = self.self_attention(placed, placed, query, need_weights=False)
        query = self.self_norm(query + read)
        return self.ffn_norm(query + self.linear2(F.relu(self.linear1(query))))


class QueryDecoder(nn.Module):
    """Layers that cycle over the three coarser scales, with predictions before and after each [O].

    Args:
        width: E.
        num_queries: Q; MagNet has one.
        num_layers: Layers; predictions are one more.
        num_heads: Heads.
        ffn_width: Hidden width of the FFNs.
        num_classes: K, classes of a query.
    """

    def __init__(
        self,
        width: int = 256,
        num_queries: int = 1,
        num_layers: int = 9,
        num_heads: int = 8,
        ffn_width: int = 2048,
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.num_scales = 3
        self.layers: Any = nn.ModuleList(QueryDecoderLayer(width, num_heads, ffn_width) for _ in range(num_layers))
        for parameter in self.layers.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.norm = nn.LayerNorm(width)
        self.query_feat = nn.Parameter(torch.randn(num_queries, width))
        self.query_embed = nn.Parameter(torch.randn(num_queries, width))
        self.level_embed = nn.Parameter(torch.randn(self.num_scales, width))
        self.class_embed = nn.Linear(width, num_classes)
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, mask_features: Tensor, scales: list[Tensor]) -> list[QueryPrediction]:
        """Decode masks.

        Args:
            mask_features: (B, E, H_1, W_1).
            scales: Maps (B, E, H, W), coarse to fine; the first three are read.

        Returns:
            Predictions in order, the last one final.
        """
        levels = self._levels(scales)
        query = self.query_feat.expand(mask_features.shape[0], -1, -1)
        predictions = [self._predict(query, mask_features)]
        for index, layer in enumerate(self.layers):
            key, value, size = levels[index % self.num_scales]
            query = layer(query, self.query_embed, key, value, self._hidden(predictions[-1].masks, size))
            predictions.append(self._predict(query, mask_features))
        return predictions

    def _levels(self, scales: list[Tensor]) -> list[tuple[Tensor, Tensor, tuple[int, int]]]:
        """Keys, values and size of each scale that is read."""
        levels = []
        for scale, embed in zip(scales[: self.num_scales], self.level_embed, strict=True):
            value = scale.flatten(2).transpose(1, 2) + embed
            height, width = scale.shape[2:]
            key = value + sine_positions_2d(height, width, value.shape[2], value.device)
            levels.append((key, value, (height, width)))
        return levels

    def _predict(self, query: Tensor, mask_features: Tensor) -> QueryPrediction:
        query = self.norm(query)
        masks = torch.einsum('bqe,behw->bqhw', self.mask_embed(query), mask_features)
        return QueryPrediction(masks, self.class_embed(query))

    def _hidden(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """(B * heads, Q, H * W) bool: outside the predicted mask; a query with nothing left looks everywhere."""
        outside = F.interpolate(masks.detach(), size, mode='bilinear', align_corners=False).flatten(2) < 0
        outside = outside & ~outside.all(-1, keepdim=True)
        return outside.repeat_interleave(self.num_heads, dim=0)
