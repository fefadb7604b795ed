"""A decode head of mmseg in a segmentor that reads expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.structures import PixelData
from mmseg.models.decode_heads.cascade_decode_head import BaseCascadeDecodeHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor

from mmmagnet.utils.errors import ConfigError

from ..structures import Decoded, Features
from .referring_decode_head import ReferringDecodeHead


@dataclass(kw_only=True)
class MMSegDecoded(Decoded):
    """A `Decoded` with what the head of mmseg returned.

    Attributes:
        output: Logits, or a tuple that begins with them.
    """

    output: Any


class MMSegDecodeHead(ReferringDecodeHead):
    """Hands the maps to a head of mmseg; its mask features are the finest map that it reads.

    Args:
        head: The head, with ``num_classes=2``.
        in_channels: Channels C_i of the maps, fine to coarse.

    Raises:
        ConfigError: If it is no decode head of mmseg that works alone, or has other classes.

    Example:
        >>> head = MMSegDecodeHead(FCNHead(in_channels=64, in_index=0, channels=8, num_classes=2), (64, 128))
        >>> head(Features.of_maps([torch.rand(1, 64, 8, 8), torch.rand(1, 128, 4, 4)])).logits.shape
        torch.Size([1, 2, 8, 8])
    """

    def __init__(self, head: Any, in_channels: Sequence[int]) -> None:
        reads_maps = maps_of(head, len(in_channels))
        super().__init__(in_channels, in_channels[min(reads_maps)])
        self.head = head
        self.reads_maps = reads_maps
        self.align_corners = head.align_corners
        if head.num_classes not in (1, 2):
            raise ConfigError(f'decode_head: num_classes={head.num_classes}, but pixels are foreground or not; set 2')

    def forward(self, inputs: Features | Sequence[Tensor]) -> MMSegDecoded:
        """Decode the maps of some features."""
        maps = self.features(inputs).maps
        output = self.head(maps)
        logits = output if isinstance(output, Tensor) else output[0]
        return MMSegDecoded(logits=logits, mask_features=maps[min(self.reads_maps)], output=output)

    def loss_by_feat(self, decoded: MMSegDecoded, gt_masks: Tensor) -> dict[str, Tensor]:
        """The head's own losses; see `ReferringDecodeHead.loss_by_feat`."""
        return self.head.loss_by_feat(decoded.output, as_samples(gt_masks))


def as_samples(gt_masks: Tensor) -> list[SegDataSample]:
    """Masks (B, 1, H, W) as mmseg's losses take them: data samples of int64 labels."""
    return [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in gt_masks.long()]


def maps_of(head: Any, number: int) -> tuple[int, ...]:
    """Indices of the maps that a head of mmseg reads, of a number of them.

    Raises:
        ConfigError: If it is no decode head of mmseg that works alone.
    """
    if not isinstance(head, BaseDecodeHead) or isinstance(head, BaseCascadeDecodeHead):
        raise ConfigError(
            f'{type(head).__name__} is neither a ReferringDecodeHead nor an AuxiliaryHead nor a decode head of mmseg '
            'that works alone; derive it from one of them'
        )
    indices = [head.in_index] if isinstance(head.in_index, int) else head.in_index
    return tuple(index % number for index in indices)
