"""Decoder of CRIS: the image's places read each other and the words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .positions import sine_positions_1d


class CrossDecoderLayer(nn.Module):
    """Self-attention of the image, cross-attention to the words, FFN; a norm before and one after each.

    Args:
        width: Channels C.
        num_heads: Heads of both attentions.
        ffn_width: Hidden width of the FFN.
        dropout: Dropout of the attentions, of the FFN and of what each adds.
    """

    def __init__(self, width: int, num_heads: int, ffn_width: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn_width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.LayerNorm(ffn_width),
            nn.Linear(ffn_width, width),
        )
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.self_norm, self.cross_norm = (nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, image: Tensor, words: Tensor, hidden: Tensor, image_positions: Tensor, word_positions: Tensor
    ) -> Tensor:
        """Update the image.

        Args:
            image: (B, N, C).
            words: (B, L, C).
            hidden: (B, L) bool, True = a pad.
            image_positions: (N, C).
            word_positions: (L, C).

        Returns:
            (B, N, C).
        """
        normed = self.norm1(image)
        placed = normed + image_positions
        read, _ = self.self_attention(placed, placed, normed, need_weights=False)
        image = image + self.dropout(self.self_norm(read))
        normed = self.norm2(image)
        read, _ = self.cross_attention(
            normed + image_positions, words + word_positions, words, key_padding_mask=hidden, need_weights=False
        )
        image = image + self.dropout(self.cross_norm(read))
        return image + self.dropout(self.ffn(self.norm3(image)))


class CrossDecoder(nn.Module):
    """Layers in which a map reads the words (CRIS, arXiv 2111.15174 [O]).

    Args:
        width: Channels C of the map and width D of the words.
        num_layers: Number of layers.
        num_heads: Heads of all attentions.
        ffn_width: Hidden width of the FFNs.
        dropout: See `CrossDecoderLayer`.
    """

    def __init__(
        self, width: int = 512, num_layers: int = 3, num_heads: int = 8, ffn_width: int = 2048, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CrossDecoderLayer(width, num_heads, ffn_width, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, image: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Map (B, C, H, W), words (B, L, C), word mask (B, L) -> map (B, C, H, W)."""
        width, height, columns = image.shape[1:]
        tokens = image.flatten(2).transpose(1, 2)
        positions = _map_positions(height, columns, width, image.device)
        word_positions = sine_positions_1d(words.shape[1], width, words.device)
        hidden = word_mask == 0
        for layer in self.layers:
            tokens = layer(tokens, words, hidden, positions, word_positions)
        return self.norm(tokens).transpose(1, 2).unflatten(2, (height, columns))


def _map_positions(height: int, width: int, channels: int, device: torch.device) -> Tensor:
    """(H * W, channels): waves of the column in the first half of the channels, of the row in the second."""
    x = sine_positions_1d(width, channels // 2, device)[None].expand(height, width, -1)
    y = sine_positions_1d(height, channels // 2, device)[:, None].expand(height, width, -1)
    return torch.cat([x, y], dim=2).flatten(0, 1)
