"""The order of items: by seed and epoch alone, whatever the number of processes."""

import itertools

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from torch.utils.data import Subset

from mmmagnet.datasets import EpochSampler, RefCOCODataset, samplers
from mmmagnet.utils.errors import ConfigError


class Items(list):
    """Something that takes (epoch, index), as far as a sampler knows."""

    takes_epoch = True


def make(monkeypatch, size, rank=0, world=1, **settings):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world))
    return EpochSampler(Items(range(size)), **settings)


def merged(monkeypatch, size, world, batches, batch, **settings):
    """Indices of `world` processes, as their steps consume them together."""
    streams = [iter(make(monkeypatch, size, rank, world, **settings)) for rank in range(world)]
    steps = []
    for _ in range(batches):
        parts = [list(itertools.islice(stream, batch)) for stream in streams]
        steps += [index for group in itertools.zip_longest(*parts) for index in group]
    return steps


def test_epochs_are_permutations(monkeypatch):
    sampler = make(monkeypatch, 50, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert indices == list(sampler)
        assert sorted(indices) == [(epoch, item) for item in range(50)]
        orders.append([item for _, item in indices])
        assert orders[-1] == np.random.default_rng((3, epoch)).permutation(50).tolist()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert list(make(monkeypatch, 5, shuffle=False)) == [(0, item) for item in range(5)]
    assert list(make(monkeypatch, 20)) == list(make(monkeypatch, 20, seed=0)) != list(make(monkeypatch, 20, seed=1))


@pytest.mark.parametrize('world', [2, 3, 7, 12])
def test_processes_share_an_epoch(monkeypatch, world):
    size = 10
    alone = list(make(monkeypatch, size))
    parts = []
    for rank in range(world):
        sampler = make(monkeypatch, size, rank, world)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    together = [index for group in itertools.zip_longest(*parts) for index in group if index is not None]
    assert together[:size] == alone
    assert len({len(part) for part in parts}) == 1
    assert together[size:] == (alone * 2)[: len(together) - size]


@pytest.mark.parametrize(('world', 'batch'), [(1, 12), (2, 6), (3, 4), (4, 3)])
def test_infinite_steps_are_the_same_on_any_number_of_processes(monkeypatch, world, batch):
    steps = merged(monkeypatch, 10, world, 5, batch, infinite=True, seed=2)
    sampler = make(monkeypatch, 10, seed=2)
    expected = []
    for epoch in range(6):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert steps == expected[:60]


@pytest.mark.parametrize('world', [1, 3])
def test_skip_starts_in_the_middle(monkeypatch, world):
    for rank in range(world):
        whole = make(monkeypatch, 10, rank, world, infinite=True)
        assert len(whole) == -(-10 // world)
        resumed = make(monkeypatch, 10, rank, world, infinite=True)
        resumed.skip(23)
        assert list(itertools.islice(resumed, 5)) == list(itertools.islice(whole, 23, 28))
        assert list(itertools.islice(resumed, 5)) == list(itertools.islice(whole, 5))
        with pytest.raises(ValueError, match='num_samples=-1'):
            resumed.skip(-1)
    with pytest.raises(ValueError, match='infinite=True'):
        make(monkeypatch, 10).skip(1)


@pytest.mark.parametrize(
    ('wrap', 'name'),
    [
        (lambda dataset: RepeatDataset(dataset, 3), 'RepeatDataset'),
        (lambda dataset: ConcatDataset([dataset, dataset]), 'ConcatDataset'),
        (lambda dataset: Subset(dataset, [0]), 'Subset'),
        (list, 'list'),
    ],
)
def test_wrappers_are_refused_by_name(prepared, wrap, name):
    wrapped = wrap(RefCOCODataset(prepared, split='train'))
    with pytest.raises(ConfigError, match=f'a {name} takes no epoch; .* use MixedReferringDataset'):
        EpochSampler(wrapped)


@pytest.mark.parametrize(('before', 'after'), [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)])
def test_an_epoch_goes_on_on_any_number_of_processes(monkeypatch, before, after):
    """`before` processes make some steps; `after` go on with what is left, and go through the next epoch whole."""
    size = 10
    samplers_after = [make(monkeypatch, size, rank, after) for rank in range(after)]
    alone = make(monkeypatch, size)
    for steps in range(-(-size // before) + 1):
        done = steps * before
        for sampler in samplers_after:
            sampler.start_at(done)
            assert len(sampler) == len(make(monkeypatch, size, sampler.rank, after))
        parts = [list(sampler) for sampler in samplers_after]
        together = [index for group in itertools.zip_longest(*parts) for index in group if index is not None]
        left = list(alone)[done:]
        assert together[: len(left)] == left
        assert len({len(part) for part in parts}) == 1 and 0 <= len(together) - len(left) < after
        again = [index for group in itertools.zip_longest(*samplers_after) for index in group if index is not None]
        assert again[:size] == list(alone)
