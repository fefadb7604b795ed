"""Word attention: every image token gathers what the words say about it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenInstanceNorm(nn.Module):
    """Instance normalisation of (B, N, C) tokens: each channel over the N tokens of its sample, without parameters.

    Args:
        eps: Added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise over the tokens that `mask` (B, N) marks with 1, over all of them where it is left out.

        Half precision is left for the computation, as autocast does for PyTorch's own norms: a variance overflows fp16.
        """
        given = tokens.dtype
        tokens = tokens.to(torch.promote_types(given, torch.float32))
        if mask is None:
            centred = tokens - tokens.mean(1, keepdim=True)
            variance = centred.square().mean(1, keepdim=True)
        else:
            share = mask.to(tokens.dtype).unsqueeze(2)
            share = share / share.sum(1, keepdim=True).clamp(min=1)
            centred = tokens - (tokens * share).sum(1, keepdim=True)
            variance = (centred.square() * share).sum(1, keepdim=True)
        return (centred * (variance + self.eps).rsqrt()).to(given)


class PixelWordAttention(nn.Module):
    """A(V, T): language features for each image token [O].

    In reference code, with ``m`` the word mask and ``w = width``::

        q = LN(Linear(V)); k = Linear(T); v = Linear(T)
        o = LN(Linear(softmax(q @ k.T / sqrt(w), over real words) @ v))
        A = GELU(Linear(GELU(Linear(V)) * o))

    Args:
        width: Channels of V and of the result.
        text_width: Channels D of the words.
        num_heads: Attention heads. The scale stays 1 / sqrt(width) with several of them [O].
        norm: ``'layer'`` (MagNet) or ``'instance'`` (LAVT: statistics over the image tokens, no parameters).
    """

    def __init__(self, width: int, text_width: int, num_heads: int = 1, norm: str = 'layer') -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f'num_heads={num_heads} does not divide the width {width} of the word attention')
        self.num_heads = num_heads
        self.scale = width**-0.5
        self.query = nn.Linear(width, width)
        self.query_norm = build_norm(norm, width)
        self.key = nn.Linear(text_width, width)
        self.value = nn.Linear(text_width, width)
        self.out = nn.Linear(width, width)
        self.out_norm = build_norm(norm, width)
        self.image = nn.Linear(width, width)
        self.fuse = nn.Linear(width, width)

    def forward(self, image: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Attend from image tokens to words.

        Args:
            image: V, (B, N, width).
            words: T, (B, L, D).
            word_mask: m, (B, L), 1 = real word. Padded words are never attended to.

        Returns:
            (B, N, width).
        """
        query = self._split(self.query_norm(self.query(image)))
        key, value = self.key(words), self.value(words)
        if isinstance(self.out_norm, TokenInstanceNorm):
            # it removes what all image tokens share; taking that from the values first saves the digits of what is left
            share = (word_mask / word_mask.sum(1, keepdim=True).clamp(min=1)).to(value.dtype)
            value = value - share.unsqueeze(1) @ value
        key, value = self._split(key), self._split(value)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=word_mask.bool()[:, None, None, :], scale=self.scale
        )
        attended = self.out_norm(self.out(attended.transpose(1, 2).flatten(2)))
        return F.gelu(self.fuse(F.gelu(self.image(image)) * attended))

    def shares(self, image: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """How much of what each image token reads comes from each word: the softmax, mean of the heads.

        Args:
            image: As for `forward`.
            words: As for `forward`.
            word_mask: As for `forward`.

        Returns:
            (B, N, L), 0 to 1. They sum to 1 over the words, and those of padded words are 0.
        """
        query, key = self._split(self.query_norm(self.query(image))), self._split(self.key(words))
        similarity = query @ key.transpose(2, 3) * self.scale
        return similarity.masked_fill(word_mask[:, None, None] == 0, -torch.inf).softmax(-1).mean(1)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def build_norm(norm: str, width: int) -> nn.Module:
    """The norm called ``'layer'`` or ``'instance'`` for (B, N, width) tokens."""
    if norm == 'layer':
        return nn.LayerNorm(width)
    if norm == 'instance':
        return TokenInstanceNorm()
    raise ValueError(f"norm={norm!r}: expected 'layer' or 'instance'")
