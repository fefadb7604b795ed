"""What the network's parts hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass
class Features:
    """What the fused encoders give to every head.

    Attributes:
        maps: Decoder features (B, C_i, H_i, W_i), one of each stage, fine to coarse.
        image: Image map after the last fusion, (B, H_4, W_4, C_4).
        words: Words after the last fusion, (B, L, D).
        word_mask: m, (B, L), 1 = real word.
        sentence: State of the whole expression, (B, E); None where the text encoder gives none.
    """

    maps: Sequence[Tensor]
    image: Tensor
    words: Tensor
    word_mask: Tensor
    sentence: Tensor | None = None

    @classmethod
    def of_maps(cls, maps: Sequence[Tensor]) -> Features:
        """Features of a network without text: zero words, (B, 0, 0)."""
        last = maps[-1]
        return cls(maps, last.permute(0, 2, 3, 1), last.new_zeros(len(last), 0, 0), last.new_zeros(len(last), 0))

    def of_samples(self, samples: slice) -> Features:
        """Features of some samples of the batch."""
        return Features(
            [feature[samples] for feature in self.maps],
            self.image[samples],
            self.words[samples],
            self.word_mask[samples],
            None if self.sentence is None else self.sentence[samples],
        )


@dataclass(kw_only=True)
class Decoded:
    """What a decode head makes of `Features`. A head whose loss reads more subclasses it.

    Attributes:
        logits: (B, 1, h, w) of the foreground, or (B, 2, h, w) of background and foreground, at the head's own size.
        mask_features: (B, E, H_1, W_1), the features that the logits are read from.
        target_score: Probability (B,) that the image shows what the expression means. None if the head assumes it.
    """

    logits: Tensor
    mask_features: Tensor
    target_score: Tensor | None = None
