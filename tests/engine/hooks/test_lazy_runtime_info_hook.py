"""Losses are read from the device at intervals, and the log and checkpoints have those of MMEngine's hook."""

import json

import pytest
from mmengine.hooks import RuntimeInfoHook
from torch import Tensor

from mmmagnet.engine.hooks import LazyRuntimeInfoHook
from mmmagnet.utils.checkpoint import load_file


def trained(make_runner, tmp_path, kind, interval, logged):
    """Losses in the log of a training of 3 epochs of 4 steps, and in its checkpoints after 3, 6, 9 and 12 steps."""
    hooks = dict(
        runtime_info=dict(type=kind, **({'interval': interval} if kind.startswith('Lazy') else {})),
        logger=dict(type='LoggerHook', interval=logged, ignore_last=False, log_metric_by_epoch=False),
        checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=3, max_keep_ckpts=-1),
    )
    runner = make_runner(hooks, work_dir=kind)
    runner.train()
    (log,) = (tmp_path / kind).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    kept = [load_file(tmp_path / kind / f'iter_{step}.pth')['message_hub']['log_scalars'] for step in (3, 6, 9, 12)]
    return (
        [(line['step'], line['loss'], line['loss_line']) for line in lines],
        [scalars['train/loss'].data[0].tolist() for scalars in kept],
    )


@pytest.mark.parametrize(('interval', 'logged'), [(1, 1), (10, 1), (10, 4), (3, 2), (10, 3)])
def test_log_and_checkpoints(make_runner, tmp_path, interval, logged):
    (log, kept), (expected_log, expected_kept) = (
        trained(make_runner, tmp_path, kind, interval, logged) for kind in ('LazyRuntimeInfoHook', 'RuntimeInfoHook')
    )
    assert [step for step, *_ in log] == [step for step, *_ in expected_log]
    assert len(log) >= 3
    assert [losses for _, *losses in log] == [pytest.approx(losses, rel=1e-6) for _, *losses in expected_log]
    assert kept == [pytest.approx(losses, rel=1e-6) for losses in expected_kept]


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
