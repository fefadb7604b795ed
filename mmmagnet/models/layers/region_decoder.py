"""Region decoder: a grid of queries, each a region of the image, that read words and vote for one mask (ReLA)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .query_decoder import QueryDecoder


class RegionPrediction(NamedTuple):
    """What the regions say together.

    Attributes:
        masks: Mask logits Z (B, 2, H_1, W_1), background and foreground.
        minimap: Logits x (B, Q, 2): whether the target covers a region.
        no_target: Logits n (B, 2): class 0 = there is a target, class 1 = there is none.
    """

    masks: Tensor
    minimap: Tensor
    no_target: Tensor


class RegionDecoder(QueryDecoder):
    """ReLA's decoder (arXiv 2306.00968 [O]): Q regions read three scales through their own masks, and words once.

    A mask is the sum of the regions' masks, weighted by the minimap. Only the last prediction counts; the earlier ones
    hide places from the regions and have no gradient.

    Args:
        width: Channels E.
        text_channels: D, width of the words.
        num_queries: Q, number of regions.
        num_layers: K, number of layers.
        num_heads: Heads of all attentions.
        ffn_width: Hidden width of the FFNs.
        region_weight: Factor of the words' update.
        official_compat: Whether regions attend to padded words too, as in the release. The result then depends on L.
    """

    def __init__(
        self,
        width: int = 256,
        text_channels: int = 768,
        num_queries: int = 100,
        num_layers: int = 9,
        num_heads: int = 8,
        ffn_width: int = 2048,
        region_weight: float = 0.1,
        official_compat: bool = False,
    ) -> None:
        super().__init__(width, num_queries, num_layers, num_heads, ffn_width, num_classes=2)  # the minimap's two
        self.region_weight = region_weight
        self.official_compat = official_compat
        self.word_proj = nn.Linear(text_channels, width, bias=False)
        nn.init.zeros_(self.word_proj.weight)
        self.word_attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.word_norm = nn.LayerNorm(width)
        self.word_weight = nn.Parameter(torch.zeros(()))
        self.no_target_embed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))

    def forward(  # type: ignore[override]
        self, mask_features: Tensor, scales: list[Tensor], words: Tensor, word_mask: Tensor
    ) -> RegionPrediction:
        """Decode a mask.

        Args:
            mask_features: (B, E, H_1, W_1).
            scales: Maps (B, E, H, W), coarse to fine; the first three are read.
            words: (B, L, D).
            word_mask: (B, L), 1 = real word.
        """
        levels = self._levels(scales)
        regions = self.query_feat.expand(mask_features.shape[0], -1, -1)
        for index, layer in enumerate(self.layers):
            key, value, size = levels[index % self.num_scales]
            with torch.no_grad():
                masks = torch.einsum('bqe,behw->bqhw', self.mask_embed(self.norm(regions)), mask_features)
            regions = layer.read(regions, self.query_embed, key, value, self._hidden(masks, size))
            if index == 0:
                regions = regions + self.region_weight * self.word_weight.sigmoid() * self._read_words(
                    regions, words, word_mask
                )
            regions = layer.exchange(regions, self.query_embed)
        regions = self.norm(regions)
        minimap = self.class_embed(regions)
        kernels = torch.einsum('bqc,bqe->bce', minimap, self.mask_embed(regions))
        masks = torch.einsum('bce,behw->bchw', kernels, mask_features)
        return RegionPrediction(masks, minimap, self.no_target_embed(regions).mean(1))

    def _read_words(self, regions: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        projected = self.word_proj(words)
        hidden = None if self.official_compat else word_mask == 0
        read, _ = self.word_attention(regions, projected, projected, key_padding_mask=hidden, need_weights=False)
        return self.word_norm(regions + read)
