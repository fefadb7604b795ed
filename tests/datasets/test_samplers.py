"""The order of visits: by seed and epoch alone, whatever the number of processes."""

import itertools

import pytest

from mmmagnet.datasets import EpochSampler, samplers


class Visited(list):
    """Something that takes visits, as far as a sampler knows."""

    by_visit = False


def make(monkeypatch, size, rank=0, world=1, **settings):
    monkeypatch.setattr(samplers, 'get_dist_info', lambda: (rank, world))
    return EpochSampler(Visited(range(size)), **settings)


def merged(monkeypatch, size, world, batches, batch, **settings):
    """The visits of `world` processes, as their steps consume them together."""
    streams = [iter(make(monkeypatch, size, rank, world, **settings)) for rank in range(world)]
    steps = []
    for _ in range(batches):
        parts = [list(itertools.islice(stream, batch)) for stream in streams]
        steps += [visit for group in itertools.zip_longest(*parts) for visit in group]
    return steps


def test_epochs_are_permutations(monkeypatch):
    sampler = make(monkeypatch, 50, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        visits = list(sampler)
        assert visits == list(sampler)
        assert sorted(visits) == list(range(epoch * 50, epoch * 50 + 50))
        orders.append([visit - epoch * 50 for visit in visits])
    assert orders[0] != orders[1] != orders[2] != orders[0]
    other = make(monkeypatch, 50, seed=4)
    assert list(other) not in ([visit % 50 for visit in order] for order in orders)
    assert list(make(monkeypatch, 5, shuffle=False)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize('world', [2, 3, 7, 12])
@pytest.mark.parametrize('round_up', [True, False])
def test_processes_share_an_epoch(monkeypatch, world, round_up):
    size = 10
    alone = list(make(monkeypatch, size))
    parts = []
    for rank in range(world):
        sampler = make(monkeypatch, size, rank, world, round_up=round_up)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    together = [visit for group in itertools.zip_longest(*parts) for visit in group if visit is not None]
    assert together[:size] == alone
    if round_up:
        assert len({len(part) for part in parts}) == 1
        assert together[size:] == (alone * 2)[: len(together) - size]
    else:
        assert len(together) == size


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


def test_seed_of_all_processes(monkeypatch):
    monkeypatch.setattr(samplers, 'sync_random_seed', lambda: 7)
    assert list(make(monkeypatch, 20, seed=None)) == list(make(monkeypatch, 20, seed=7))


def test_a_dataset_that_takes_no_visits_is_refused():
    with pytest.raises(TypeError, match='list does not take visits'):
        EpochSampler([1, 2, 3])


@pytest.mark.parametrize(('before', 'after'), [(1, 1), (2, 2), (3, 3), (2, 3), (3, 1)])
@pytest.mark.parametrize('round_up', [True, False])
def test_an_epoch_goes_on_on_any_number_of_processes(monkeypatch, before, after, round_up):
    """`before` processes make some steps; `after` go on with what is left, and go through the next epoch whole."""
    size = 10
    samplers_after = [make(monkeypatch, size, rank, after, round_up=round_up) for rank in range(after)]
    alone = make(monkeypatch, size)
    for steps in range(-(-size // before) + 1):
        done = steps * before
        for sampler in samplers_after:
            sampler.start_at(done)
            assert len(sampler) == len(make(monkeypatch, size, sampler.rank, after, round_up=round_up))
        parts = [list(sampler) for sampler in samplers_after]
        together = [visit for group in itertools.zip_longest(*parts) for visit in group if visit is not None]
        left = list(alone)[done:]
        assert together[: len(left)] == left
        if round_up:
            assert len({len(part) for part in parts}) == 1 and 0 <= len(together) - len(left) < after
        else:
            assert len(together) == len(left)
        again = [visit for group in itertools.zip_longest(*samplers_after) for visit in group if visit is not None]
        assert again[:size] == list(alone)
