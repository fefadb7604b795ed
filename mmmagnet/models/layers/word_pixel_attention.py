"""Attention of words to pixels: every word gathers what the image shows about it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .freezing import freeze
from .pixel_word_attention import TokenInstanceNorm


class WordPixelAttention(nn.Module):
    """The text side of a cross-modal alignment module: words query image tokens [P][O].

    In reference code, with ``m`` the word mask, ``IN`` the instance norm over tokens and D the text width::

        q = Linear(T); k = IN(Linear(V)); v = IN(Linear(V))
        o = IN(Linear(softmax(q @ k.T / sqrt(D)) @ v))      # statistics over real words only
        r_t = GELU(Linear(GELU(Linear(T)) * o))

    Args:
        text_width: D, the width at which everything happens.
        image_width: Channels C_i of the image tokens.
        official_compat: Reproduce the released evaluation, which hands over BERT's additive mask (0 = word, -10000 =
            pad) where 1/0 is meant, and takes statistics over padded words too. Only for exact parity with released
            checkpoints.
    """

    def __init__(self, text_width: int, image_width: int, official_compat: bool = False) -> None:
        super().__init__()
        self.official_compat = official_compat
        self.scale = text_width**-0.5
        self.query = nn.Linear(text_width, text_width)
        self.key = nn.Linear(image_width, text_width)
        self.value = nn.Linear(image_width, text_width)
        self.out = nn.Linear(text_width, text_width)
        self.text = nn.Linear(text_width, text_width)
        self.fuse = nn.Linear(text_width, text_width)
        self.norm = TokenInstanceNorm()
        if not official_compat:
            freeze(self.key.bias, self.value.bias)  # the norms undo them, so nothing reads them

    def forward(self, words: Tensor, image: Tensor, word_mask: Tensor) -> Tensor:
        """Attend from words to image tokens.

        Args:
            words: T, (B, L, D).
            image: V, (B, N, C_i).
            word_mask: m, (B, L), 1 = real word.

        Returns:
            r_t, (B, L, D). Rows of padded words carry no meaning.
        """
        if self.official_compat:
            attended = self.norm(self.out(self._attend_as_released(words, image, word_mask)))
        else:
            attended = self.norm(self.out(self._attend(words, image)), word_mask)
        return F.gelu(self.fuse(F.gelu(self.text(words)) * attended))

    def _attend(self, words: Tensor, image: Tensor) -> Tensor:
        """softmax(q @ k.T / sqrt(D)) @ v, (B, L, D), without keys and values: they are N x D, and D is wide.

        An instance norm shifts and scales channels. The shift of the keys changes no softmax, and taking the mean from
        the image tokens is both shifts; the scales go to the queries and to what was gathered.
        """
        query = self.query(words)
        with torch.autocast(words.device.type, enabled=False):  # variances overflow half precision
            wide = torch.promote_types(words.dtype, torch.float32)
            tokens, channels = image.shape[1:]
            image = image.to(wide)
            image = image - image.mean(1, keepdim=True)
            to_key, to_value = self.key.weight.to(wide), self.value.weight.to(wide)
            both = torch.cat([to_key, to_value])
            if tokens > channels:  # the variance of x @ w is w @ Cov(x) @ w
                covariance = image.transpose(1, 2) @ image / tokens
                variance = ((both @ covariance) * both).sum(2).clamp(min=0)
            else:
                variance = (image @ both.T).square().mean(1)
            key_scale, value_scale = (variance + self.norm.eps).rsqrt().unsqueeze(1).chunk(2, dim=2)
            query = (query.to(wide) * key_scale) @ to_key
            gathered = F.scaled_dot_product_attention(query, image, image, scale=self.scale) @ to_value.T * value_scale
            return gathered.to(words.dtype)

    def _attend_as_released(self, words: Tensor, image: Tensor, word_mask: Tensor) -> Tensor:
        query, key, value = self.query(words), self.norm(self.key(image)), self.norm(self.value(image))
        with torch.autocast(words.device.type, enabled=False):  # these numbers overflow half precision
            wide = torch.promote_types(words.dtype, torch.float32)
            additive = (word_mask.to(wide) - 1).unsqueeze(2) * 1e4
            similarity = (query.to(wide) * additive) @ key.to(wide).transpose(1, 2) * self.scale
            share = (similarity + (1e4 * additive - 1e4)).softmax(-1)
        return share.to(value.dtype) @ value
