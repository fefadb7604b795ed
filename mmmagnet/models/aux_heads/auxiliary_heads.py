"""The heads of training, as a segmentor holds them: ours, or a project's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import ModuleList
from torch import Tensor, nn

from ..builder import build_part
from .mask_grounding_head import MaskedWords


class AuxiliaryHeads(ModuleList):
    """Builds heads of training, masks words for Mask Grounding, and sums up their losses.

    A segmentor keeps one, asks it for masked words before its text encoder runs, and for the losses after everything ran
    (docs/mixing.md). A head with `requires` is handed those tensors by name; one with `mask_words` masks the words.

    Args:
        configs: Of the heads, or the heads themselves; none is fine.
        known: What their constructors may ask for by name: ``text_channels`` (D), ``image_channels`` (C_4),
            ``feat_channels`` (E), ``vocab_size``, ``mask_token_id``.
    """

    def __init__(
        self, configs: dict | Sequence[dict | nn.Module] | None, known: Mapping[str, Any] | None = None
    ) -> None:
        heads = [configs] if isinstance(configs, dict) else configs or []
        super().__init__(head if isinstance(head, nn.Module) else build_part(head, known or {}) for head in heads)

    @property
    def grounding(self) -> Any:
        """The head that masks words, or None."""
        return next((head for head in self if hasattr(head, 'mask_words')), None)

    @property
    def extra_masked_pass(self) -> bool:
        """Whether the head that masks words wants a pass of its own."""
        return getattr(self.grounding, 'extra_masked_pass', False)

    def mask_words(self, input_ids: Tensor, word_mask: Tensor) -> MaskedWords | None:
        """What to run the text encoder on: see `MaskGroundingHead.mask_words`. None if no head masks words."""
        grounding = self.grounding
        return None if grounding is None else grounding.mask_words(input_ids, word_mask)

    def loss(self, **tensors: Any) -> dict[str, Tensor]:
        """Losses of the heads with `requires`.

        Args:
            **tensors: What they require: ``words`` (B, L, D) and ``word_mask`` (B, L), ``image`` (B, H_4, W_4, C_4),
                ``gt_masks`` (B, 1, H, W), ``mask_features`` (B, E, H_1, W_1), ``masked_words`` of `mask_words`. In a
                separate pass the head that masks words is given ``grounded_words`` and ``grounded_image`` as its words
                and image.

        Raises:
            TypeError: If a tensor that a head requires is missing, or those of a separate pass are.
            ValueError: If two heads give losses of the same name.
        """
        losses: dict[str, Tensor] = {}
        grounding = self.grounding
        head: Any
        for head in self:
            if not hasattr(head, 'requires'):
                continue
            missing = [name for name in head.requires if name not in tensors]
            if missing:
                raise TypeError(f'{type(head).__name__} requires {missing[0]}: hand it to AuxiliaryHeads.loss')
            given = {name: tensors[name] for name in head.requires}
            if head is grounding:
                for name in ('words', 'image'):
                    if head.extra_masked_pass and f'grounded_{name}' not in tensors:
                        raise TypeError(
                            f'extra_masked_pass=True: hand grounded_{name} of the pass on the masked words to '
                            'AuxiliaryHeads.loss, or set extra_masked_pass=False'
                        )
                    given[name] = tensors.get(f'grounded_{name}', given[name])
            found = head.loss(**given)
            if found.keys() & losses.keys():
                raise ValueError(f'two heads give {min(found.keys() & losses.keys())}; keep one {type(head).__name__}')
            losses.update(found)
        return losses
