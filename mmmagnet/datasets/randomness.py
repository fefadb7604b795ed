"""What is drawn for an item: by seed, epoch and item alone."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

Draw = tuple[int, int, int]
"""(seed, epoch, item): all that is drawn for a training item follows from it."""


def split_visit(visit: int, size: int) -> tuple[int, int]:
    """Epoch and item of a visit, ``epoch * size + item``; a negative one counts from the end of the first epoch.

    Raises:
        IndexError: If there are not so many items.
    """
    if visit < -size:
        raise IndexError(f'visit {visit} of {size} items')
    return divmod(visit if visit >= 0 else visit + size, size)


def make_draw(seed: int, epoch: int, item: int, seeded: bool) -> Draw:
    """The draw of a visit; one of numpy's random state where `seeded` is off, as the epoch is not known then."""
    if seeded:
        return seed, epoch, item
    first, second, third = np.random.randint(2**31, size=3).tolist()
    return first, second, third


def generator_of(draw: Draw, name: str) -> np.random.Generator:
    """The random numbers of one transform: those of another name are independent of them."""
    return np.random.default_rng((*draw, zlib.crc32(name.encode())))


@contextmanager
def random_state_of(draw: Draw) -> Iterator[None]:
    """Set Python's and numpy's random state, of which mmcv's and mmseg's transforms draw, and put them back after."""
    before = random.getstate(), np.random.get_state()
    state = np.random.SeedSequence(draw).generate_state(4)
    random.seed(state.tobytes())
    np.random.seed(state)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
