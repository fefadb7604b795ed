"""Pixel attention: every word gathers what the image shows about it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .word_attention import TokenNorm


class PixelAttention(nn.Module):
    """The text side of a cross-modal bridge: words query image tokens (docs/paper.md [P][O]).

    In reference code, with ``m`` the word mask, ``IN`` the instance norm over tokens and D the text width::

        q = Linear(T); k = IN(Linear(V)); v = IN(Linear(V))
        o = IN(Linear(softmax(q @ k.T / sqrt(D)) @ v))      # statistics over real words only
        r_t = GELU(Linear(GELU(Linear(T)) * o))

    Args:
        text_width: D, the width at which everything happens.
        image_width: Channels C_i of the image tokens.
        compat: Reproduce the released evaluation, which hands over BERT's additive mask (0 = word, -10000 = pad) where
            1/0 is meant and takes statistics over padded words too. Only for exact parity with released checkpoints.
    """

    def __init__(self, text_width: int, image_width: int, compat: bool = False) -> None:
        super().__init__()
        self.compat = compat
        self.scale = text_width**-0.5
        self.query = nn.Linear(text_width, text_width)
        self.key = nn.Linear(image_width, text_width)
        self.value = nn.Linear(image_width, text_width)
        self.out = nn.Linear(text_width, text_width)
        self.text = nn.Linear(text_width, text_width)
        self.fuse = nn.Linear(text_width, text_width)
        self.norm = TokenNorm()

    def forward(self, words: Tensor, image: Tensor, word_mask: Tensor) -> Tensor:
        """Attend from words to image tokens.

        Args:
            words: T, (B, L, D).
            image: V, (B, N, C_i).
            word_mask: m, (B, L), 1 = real word.

        Returns:
            r_t, (B, L, D). Rows of padded words carry no meaning.
        """
        query, key, value = self.query(words), self.norm(self.key(image)), self.norm(self.value(image))
        if self.compat:
            with torch.autocast(words.device.type, enabled=False):  # these numbers overflow half precision
                wide = torch.promote_types(words.dtype, torch.float32)
                additive = (word_mask.to(wide) - 1).unsqueeze(2) * 1e4
                similarity = (query.to(wide) * additive) @ key.to(wide).transpose(1, 2) * self.scale
                share = (similarity + (1e4 * additive - 1e4)).softmax(-1)
            attended = self.norm(self.out(share.to(value.dtype) @ value))
        else:
            attended = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
            attended = self.norm(self.out(attended), word_mask)
        return F.gelu(self.fuse(F.gelu(self.text(words)) * attended))
