"""A training that resumes draws what it would have drawn."""

import pytest
import torch

from mmmagnet.utils.checkpoint import load_file


def hooks(seeded):
    seed = dict(step_seed=dict(type='IterSeedHook')) if seeded else {}
    return dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=True, interval=1), logger=None, **seed)


@pytest.mark.parametrize('seeded', [True, False])
def test_resumed_as_whole(make_runner, tmp_path, seeded):
    make_runner(hooks(seeded), work_dir='whole').train()
    make_runner(hooks(seeded), work_dir='two', max_epochs=1).train()
    make_runner(hooks(seeded), work_dir='two', resume=tmp_path / 'two' / 'epoch_1.pth').train()
    whole, resumed = (load_file(tmp_path / name / 'epoch_3.pth')['state_dict'] for name in ('whole', 'two'))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items()) == seeded


def test_steps_and_seeds_differ(make_runner):
    from mmmagnet.engine.hooks import IterSeedHook

    drawn = set()
    runner = make_runner(dict(logger=None, checkpoint=None))
    for seed in (0, 1):
        for step in (0, 1):
            runner._seed, runner.train_loop._iter = seed, step
            IterSeedHook().before_train_iter(runner, 0)
            first = torch.rand(1).item()
            IterSeedHook().before_train_iter(runner, 0)
            assert torch.rand(1).item() == first
            drawn.add(first)
    assert len(drawn) == 4
