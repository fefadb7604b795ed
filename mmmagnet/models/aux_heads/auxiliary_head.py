"""What auxiliary heads may read, and what they return."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmengine.model import BaseModule
from torch import Tensor


class MaskedWords(NamedTuple):
    """A batch of expressions with some words masked.

    Attributes:
        input_ids: (B, L), to be fed to the text encoder instead of the original ids.
        positions: (K,) positions in the flattened (B * L) batch that were chosen.
        target: (K,) the original id where a real word was chosen, -100 where it is a special token or a pad.
    """

    input_ids: Tensor
    positions: Tensor
    target: Tensor


@dataclass(kw_only=True)
class AuxiliaryInputs:
    """What a training step has to offer to auxiliary heads.

    Attributes:
        words: Words after the last fusion, (B, L, D).
        word_mask: (B, L), 1 = real word.
        image: Image map after the last fusion, (B, H_4, W_4, C_4).
        gt_masks: (B, 1, H, W) integers: 1 in the mask, 0 outside, 255 unknown.
        mask_features: What the decode head reads its logits from, (B, E, H_1, W_1). `AlignmentHead` needs them.
        masked_words: What `AuxiliaryHeads.mask_words` returned.
        grounded_words: As `words`, of an extra pass on the masked words, where there was one.
        grounded_image: As `image`, of that pass.
        maps: Decoder features (B, C_i, H_i, W_i), fine to coarse; heads of mmseg need them.
    """

    words: Tensor
    word_mask: Tensor
    image: Tensor
    gt_masks: Tensor
    mask_features: Tensor | None = None
    masked_words: MaskedWords | None = None
    grounded_words: Tensor | None = None
    grounded_image: Tensor | None = None
    maps: Sequence[Tensor] = ()


class AuxiliaryHead(BaseModule):
    """Base class of heads that exist in training only. A subclass writes `loss` and says what it reads.

    Args:
        init_cfg: MMEngine initialisation config.

    Attributes:
        reads_maps: Indices of `AuxiliaryInputs.maps` that it reads.
        reads_image: Whether it reads the image map after the last fusion.
        reads_words: Whether it reads the words after the last fusion.

    Example:
        >>> class LengthHead(AuxiliaryHead):
        ...     reads_words = True
        ...
        ...     def __init__(self, text_channels, init_cfg=None):
        ...         super().__init__(init_cfg)
        ...         self.length = nn.Linear(text_channels, 1)
        ...
        ...     def loss(self, inputs):
        ...         length = self.length(inputs.words[:, 0]).squeeze(1)
        ...         return {'loss_length': F.mse_loss(length, inputs.word_mask.sum(1).float())}
    """

    reads_maps: tuple[int, ...] = ()
    reads_image = False
    reads_words = False

    @abstractmethod
    def loss(self, inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        """Losses of a batch, as scalars whose names contain "loss"; other scalars are logged."""
