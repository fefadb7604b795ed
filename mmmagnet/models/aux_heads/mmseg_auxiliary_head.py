"""A decode head of mmseg as an auxiliary head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..decode_heads.mmseg_decode_head import as_samples, maps_of
from .auxiliary_head import AuxiliaryHead, AuxiliaryInputs


class MMSegAuxiliaryHead(AuxiliaryHead):
    """Hands the maps to a head of mmseg and tells its losses from those of other heads.

    Args:
        head: The head, with ``num_classes=2``.
        number: Number of maps.
        prefix: What the names of its losses begin with.

    Raises:
        ConfigError: If it is no decode head of mmseg that works alone.

    Example:
        >>> head = MMSegAuxiliaryHead(FCNHead(in_channels=64, in_index=2, channels=8, num_classes=2), 4, 'aux_0')
        >>> head.reads_maps
        (2,)
    """

    def __init__(self, head: nn.Module, number: int, prefix: str) -> None:
        super().__init__()
        self.reads_maps = maps_of(head, number)
        self.head: Any = head
        self.prefix = prefix

    def loss(self, inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        """The head's own losses, their names prefixed."""
        losses = self.head.loss(inputs.maps, as_samples(inputs.gt_masks), None)
        return {f'{self.prefix}.{name}': value for name, value in losses.items()}
