"""What is random for an item: it follows from seed, epoch and index alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

ItemIndex = int | tuple[int, int]
"""Place of an item in its dataset; with its epoch before it, unless that is epoch 0."""


def split_index(index: ItemIndex, size: int) -> tuple[int, int]:
    """Epoch and place, counted from the front, of an index into `size` items.

    Raises:
        IndexError: If there are not so many items.
    """
    epoch, place = index if isinstance(index, tuple) else (0, index)
    if not -size <= place < size:
        raise IndexError(f'index {place} into {size} items')
    return epoch, place % size


@contextmanager
def seeded(seed: int, epoch: int, index: int) -> Iterator[np.random.Generator]:
    """The random numbers of an item, for our transforms.

    Within the context the random states of Python, NumPy and PyTorch follow from the item, too: mmcv's, mmseg's and
    torchvision's transforms draw from them. They are put back afterwards.

    Example:
        >>> with seeded(seed=0, epoch=3, index=7) as rng:
        ...     first = rng.integers(10)
        >>> with seeded(seed=0, epoch=3, index=7) as rng:
        ...     assert rng.integers(10) == first
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    state = np.random.SeedSequence((seed, epoch, index)).generate_state(4)
    random.seed(state.tobytes())
    np.random.seed(state)
    torch.default_generator.manual_seed(int(state[0]))  # torch.manual_seed would reseed the GPUs of a training
    try:
        yield np.random.default_rng((seed, epoch, index))
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
