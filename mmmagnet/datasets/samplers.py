"""The order of training items, and with it everything that is random for them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmmagnet.registry import DATA_SAMPLERS
from mmmagnet.utils.errors import ConfigError


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Order of the items of a training set, as pairs ``(epoch, index)``.

    The pair tells the dataset all that is random for an item. Order and expressions are therefore the same with any
    number of workers and processes, and after an interruption in the middle of an epoch (`EpochSamplerHook`). Process r
    of n takes every n-th item from r on, so n processes with batch b see the same items as one with batch n * b. The
    first items are repeated so that every process gets as many.

    Args:
        dataset: A `RefCOCODataset` or `MixedReferringDataset`.
        shuffle: Permute the items, by seed and epoch.
        seed: Seed of the permutation, 0 by default. In a training it is ``randomness.seed``, which `EpochSamplerHook`
            sets.
        infinite: Go on with the next epoch for ever. `EpochSamplerHook` sets it for MMEngine's iteration-based loop.

    Raises:
        ConfigError: If the dataset takes no epoch, as MMEngine's wrappers.

    Example:
        >>> dataset = RefCOCODataset('data/refcoco_unc', split='train')
        >>> sampler = EpochSampler(dataset, seed=1)
        >>> sampler.set_epoch(3)
        >>> next(iter(sampler))
        (3, 20333)
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        infinite: bool = False,
    ) -> None:
        if not getattr(dataset, 'takes_epoch', False):
            raise ConfigError(
                f'EpochSampler: a {type(dataset).__name__} takes no epoch; give it a RefCOCODataset or '
                'MixedReferringDataset itself. Instead of repeating, train more epochs; instead of joining, use '
                'MixedReferringDataset'
            )
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = seed
        self.infinite = infinite
        self.epoch = 0
        self.done = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        done, self.done = self.done, 0
        if self.infinite:
            return self._items(itertools.count(self.rank + done, self.world_size), self.epoch)
        left = -(-max(self.size - done, 0) // self.world_size) * self.world_size
        return self._items(range(self.rank + done, done + left, self.world_size), self.epoch)

    def __len__(self) -> int:
        """Items of this process in a whole epoch."""
        return -(-self.size // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def start_at(self, done: int) -> None:
        """Let the next pass leave out the first `done` items of all processes together."""
        self.done = done

    def skip(self, num_samples: int) -> None:
        """Leave out this process's first `num_samples` items; MMEngine's iteration-based loop asks it on resuming.

        Raises:
            ValueError: If `num_samples` is negative, or the sampler ends with its epoch and cannot follow such a loop.
        """
        if num_samples < 0:
            raise ValueError(f'num_samples={num_samples}: cannot skip fewer than none')
        if not self.infinite:
            raise ValueError(
                'EpochSampler: an iteration-based training is resumed with infinite=True, which EpochSamplerHook sets'
            )
        self.start_at(num_samples * self.world_size)

    def _items(self, places: Iterable[int], epoch: int) -> Iterator[tuple[int, int]]:
        """Items at some places, ascending, from the start of an epoch on."""
        order, known = np.arange(self.size), None
        for place in places:
            passed, place = divmod(place, self.size)
            now = epoch + passed if self.infinite else epoch
            if self.shuffle and known != now:
                order, known = np.random.default_rng((self.seed or 0, now)).permutation(self.size), now
            yield now, int(order[place])
