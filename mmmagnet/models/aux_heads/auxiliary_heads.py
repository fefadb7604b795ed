"""The auxiliary heads of a segmentor, ours or a project's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.model import ModuleList
from torch import Tensor, nn

from ..builder import build_part
from .auxiliary_head import AuxiliaryHead, AuxiliaryInputs, MaskedWords
from .mask_grounding_head import MaskGroundingHead
from .mmseg_auxiliary_head import MMSegAuxiliaryHead


class AuxiliaryHeads(ModuleList):
    """Builds auxiliary heads, masks words for Mask Grounding, and collects their losses.

    A segmentor holds one. It asks for masked words before its text encoder runs, and for the losses after everything
    ran (docs/mask_grounding.md). A decode head of mmseg among them reads the maps.

    Args:
        configs: Configs of the heads, or the heads themselves; none is fine.
        known: What their constructors may ask for by name: ``text_channels`` (D), ``image_channels`` (C_4),
            ``feat_channels`` (E), ``in_channels`` (C_i), ``vocab_size``, ``mask_token_id``.

    Raises:
        ConfigError: If one is neither an `AuxiliaryHead` nor a head of mmseg.

    Example:
        >>> known = dict(text_channels=768, image_channels=1024, vocab_size=30522, mask_token_id=103)
        >>> heads = AuxiliaryHeads([dict(type='MaskGroundingHead', mask_prob=0.15, loss_weight=0.01)], known)
        >>> masked = heads.mask_words(input_ids, word_mask)
        >>> words, image = encoders(inputs, masked.input_ids, word_mask)
        >>> given = dict(words=words, word_mask=word_mask, image=image, gt_masks=gt_masks, masked_words=masked)
        >>> losses = heads.loss(AuxiliaryInputs(**given))
    """

    def __init__(
        self, configs: dict | Sequence[dict | nn.Module] | None, known: Mapping[str, Any] | None = None
    ) -> None:
        known = known or {}
        parts = [configs] if isinstance(configs, dict) else configs or []
        heads: list[nn.Module] = []
        for index, part in enumerate(parts):
            head = part if isinstance(part, nn.Module) else build_part(part, known)
            if not isinstance(head, AuxiliaryHead):
                head = MMSegAuxiliaryHead(head, len(known.get('in_channels', ())), f'aux_{index}')
            heads.append(head)
        super().__init__(heads)

    def __iter__(self) -> Iterator[AuxiliaryHead]:  # type: ignore[override]
        """The heads, in the order of their configs."""
        return super().__iter__()  # type: ignore[return-value]

    @property
    def grounding(self) -> MaskGroundingHead | None:
        """The head that masks words, or None."""
        return next((head for head in self if isinstance(head, MaskGroundingHead)), None)

    @property
    def extra_masked_pass(self) -> bool:
        """Whether the head that masks words wants a pass of its own."""
        grounding = self.grounding
        return grounding is not None and grounding.extra_masked_pass

    def mask_words(self, input_ids: Tensor, word_mask: Tensor) -> MaskedWords | None:
        """What to run the text encoder on: see `MaskGroundingHead.mask_words`. None if no head masks words."""
        grounding = self.grounding
        return None if grounding is None else grounding.mask_words(input_ids, word_mask)

    def loss(self, inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        """Losses of all heads.

        Raises:
            TypeError: If a head needs what `inputs` leaves out.
            ValueError: If two heads give losses of the same name.
        """
        losses: dict[str, Tensor] = {}
        for head in self:
            found = head.loss(inputs)
            if found.keys() & losses.keys():
                raise ValueError(f'two heads give {min(found.keys() & losses.keys())}; keep one {type(head).__name__}')
            losses.update(found)
        return losses
