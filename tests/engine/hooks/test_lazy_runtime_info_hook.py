"""Losses are read from the device at intervals, and the log's histories are those of MMEngine's hook."""

import pytest
from mmengine.hooks import RuntimeInfoHook
from torch import Tensor

from mmmagnet.engine.hooks import LazyRuntimeInfoHook


def histories(make_runner, kind, **settings):
    runner = make_runner(dict(runtime_info=dict(type=kind, **settings), checkpoint=None, logger=None))
    runner.train()
    return {name: kept.data[0].tolist() for name, kept in runner.message_hub.log_scalars.items() if 'loss' in name}


@pytest.mark.parametrize('interval', [1, 3, 10])
def test_histories(make_runner, interval):
    expected = histories(make_runner, 'RuntimeInfoHook')
    assert len(expected) >= 1
    found = histories(make_runner, 'LazyRuntimeInfoHook', interval=interval)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-6)


def test_steps_between_readings_do_not_wait(make_runner, monkeypatch):
    """A value of another type than a tensor is on the host already."""
    runner = make_runner(dict(checkpoint=None, logger=None))
    read = []
    monkeypatch.setattr(Tensor, 'item', lambda self: read.append('item') or float(self.detach().sum()))
    monkeypatch.setattr(Tensor, 'tolist', lambda self: read.append('tolist') or [0.0] * len(self))
    for kind, expected in ((RuntimeInfoHook, ['item'] * 3), (lambda: LazyRuntimeInfoHook(3), ['tolist'])):
        hook = kind()
        for step in range(3):
            hook.after_train_iter(runner, step, outputs={'loss': next(runner.model.parameters()).sum(), 'share': 0.5})
        assert read == expected
        read.clear()


def test_interval_is_positive():
    with pytest.raises(ValueError, match='interval=0'):
        LazyRuntimeInfoHook(0)
