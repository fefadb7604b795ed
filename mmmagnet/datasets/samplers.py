"""The order of training items, and with it everything that is drawn for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmmagnet.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Like MMEngine's DefaultSampler, but yields visits: ``epoch * len(dataset) + item``.

    The dataset takes a visit apart again, so what it draws depends on seed, epoch and item alone: the same with any
    number of workers or processes, and after an interruption.

    Args:
        dataset: The dataset.
        shuffle: Permute the items, by seed and epoch.
        seed: Of the permutation. None draws one that all processes share.
        round_up: Repeat the first items so that every process gets as many.
        infinite: Go on with the next epoch for ever, for MMEngine's iteration-based loop.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = 0,
        round_up: bool = True,
        infinite: bool = False,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.infinite = infinite
        self.epoch = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[int]:
        skipped, self.skipped = self.skipped, 0
        if self.infinite:
            stream: Iterator[int] = itertools.chain.from_iterable(map(self._visits, itertools.count(self.epoch)))
            yield from itertools.islice(stream, self.rank + skipped * self.world_size, None, self.world_size)
            return
        visits = self._visits(self.epoch)
        if self.round_up:
            visits = list(itertools.islice(itertools.cycle(visits), len(self) * self.world_size))
        yield from visits[self.rank :: self.world_size][skipped:]

    def __len__(self) -> int:
        if self.round_up or self.infinite:
            return -(-self.size // self.world_size)
        return len(range(self.rank, self.size, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def skip(self, num_samples: int) -> None:
        """Start the next pass after this process's first `num_samples` visits, as MMEngine asks on resuming."""
        if num_samples < 0:
            raise ValueError(f'num_samples={num_samples}: cannot skip fewer than none')
        self.skipped = num_samples

    def _visits(self, epoch: int) -> list[int]:
        """All visits of an epoch, in order."""
        items = torch.arange(self.size)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + epoch)
            items = torch.randperm(self.size, generator=generator)
        return (items + epoch * self.size).tolist()
