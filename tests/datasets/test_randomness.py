"""Random numbers of an item: by seed, epoch and index, and without a trace outside."""

import random

import numpy as np
import pytest
import torch

from mmmagnet.datasets.randomness import seeded, split_index

DRAWS = {
    'ours': lambda rng: rng.random(),
    'python': lambda rng: random.random(),
    'numpy': lambda rng: np.random.rand(),
    'torch': lambda rng: torch.rand(1).item(),
}


@pytest.mark.parametrize('source', DRAWS)
def test_every_source_follows_from_the_item(source):
    def draw(*item):
        with seeded(*item) as rng:
            return DRAWS[source](rng)

    items = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2**31, 9, 10**6)]
    first = [draw(*item) for item in items]
    assert len(set(first)) == len(items)
    assert [draw(*item) for item in reversed(items)] == first[::-1]


@pytest.mark.parametrize('source', ['python', 'numpy', 'torch'])
def test_states_are_put_back(source):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = [DRAWS[source](None) for _ in range(2)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    found = [DRAWS[source](None)]
    with pytest.raises(KeyError), seeded(0, 0, 0):
        DRAWS[source](None)
        raise KeyError
    assert [*found, DRAWS[source](None)] == expected


@pytest.mark.parametrize(
    ('index', 'expected'), [(0, (0, 0)), (4, (0, 4)), (-1, (0, 4)), ((7, 2), (7, 2)), ((7, -5), (7, 0))]
)
def test_split_index(index, expected):
    assert split_index(index, 5) == expected


@pytest.mark.parametrize('index', [5, -6, (0, 5), (3, -6)])
def test_no_such_item(index):
    with pytest.raises(IndexError, match='into 5 items'):
        split_index(index, 5)
