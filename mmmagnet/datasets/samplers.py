"""The order of training items, and with it everything that is drawn for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmmagnet.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Like MMEngine's DefaultSampler, but yields visits: ``epoch * len(dataset) + item``.

    The dataset takes a visit apart again, so what it draws depends on seed, epoch and item alone: the same with any
    number of workers or processes, and after an interruption, in the middle of an epoch too (`EpochSamplerHook`).
    Process r of n takes every n-th visit from r on, so n processes with batch b go through the same visits as one with
    batch n * b. The wrappers of MMEngine (RepeatDataset ...) do not know visits: use ``infinite=True`` instead of
    repeating.

    Args:
        dataset: A dataset whose items are asked for by visit, such as `RefCOCODataset`.
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
        if not hasattr(dataset, 'by_visit'):
            raise TypeError(
                f'EpochSampler: a {type(dataset).__name__} does not take visits; use it on a RefCOCODataset or '
                'MixedReferringDataset'
            )
        dataset.by_visit = True
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.infinite = infinite
        self.epoch = 0
        self.done = 0

    def __iter__(self) -> Iterator[int]:
        done, self.done = self.done, 0
        if self.infinite:
            stream = itertools.chain.from_iterable(map(self._visits, itertools.count(self.epoch)))
            return itertools.islice(stream, self.rank + done, None, self.world_size)
        visits = self._visits(self.epoch)
        left = max(self.size - done, 0)
        if self.round_up:
            left = -(-left // self.world_size) * self.world_size
        return itertools.islice(itertools.cycle(visits), self.rank + done, done + left, self.world_size)

    def __len__(self) -> int:
        """Visits of this process in a whole epoch."""
        if self.round_up or self.infinite:
            return -(-self.size // self.world_size)
        return len(range(self.rank, self.size, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def start_at(self, done: int) -> None:
        """Let the next pass go on where `done` visits, those of all processes together, were made."""
        self.done = done

    def skip(self, num_samples: int) -> None:
        """Leave out this process's first `num_samples` visits, as MMEngine's iteration-based loop asks on resuming.

        Raises:
            ValueError: If `num_samples` is negative, or the sampler ends with its epoch and cannot follow such a loop.
        """
        if num_samples < 0:
            raise ValueError(f'num_samples={num_samples}: cannot skip fewer than none')
        if not self.infinite:
            raise ValueError('EpochSampler: an iteration-based training can be resumed only with infinite=True')
        self.start_at(num_samples * self.world_size)

    def _visits(self, epoch: int) -> list[int]:
        """All visits of an epoch, in order."""
        items = np.arange(self.size)
        if self.shuffle:
            items = np.random.default_rng((self.seed, epoch)).permutation(self.size)
        return (items + epoch * self.size).tolist()
