"""The GPU check on a CPU with small networks; the parts that need a GPU with stand-ins for CUDA's calls."""

import json
import re
import runpy
import time
from pathlib import Path

import gpu_steps
import pytest
import torch
from gpu_steps import BOUNDS, NETWORKS, Setting, Step

TOOL = Path(__file__).parents[3] / 'tools/analysis_tools/gpu_check.py'
SMALL = ['--device', 'cpu', '--small', '--out']


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Run the command with given steps; returns its exit status and what it wrote."""

    def run(*more, steps=gpu_steps.STEPS):
        monkeypatch.setattr(gpu_steps, 'STEPS', steps)
        status = runpy.run_path(str(TOOL))['main']([*SMALL, str(tmp_path), *more])
        found = json.loads((tmp_path / 'gpu_check.json').read_text())
        return status, found['steps'], (tmp_path / 'gpu_check.md').read_text()

    return run


@pytest.fixture
def keep(monkeypatch):
    """Leave only some networks."""

    def remove(*kept):
        for name in set(NETWORKS) - set(kept):
            monkeypatch.delitem(NETWORKS, name)

    return remove


def test_small(check, keep):
    keep('magnet', 'cris')
    names = ['parity cases', 'networks against the CPU', 'memory', 'speed', 'waits']
    status, steps, page = check('--only', *names)
    assert status == 0
    assert [step['name'] for step in steps] == names
    parity, networks, memory, speed, waits = steps
    assert [(row['method'], row['precision']) for row in parity['rows']] == [
        (method, precision) for precision in ('fp32', 'bf16') for method in ('magnet', 'cris')
    ]
    assert all(0 < row['error / bound'] < 1 for row in parity['rows'])
    assert len(networks['rows']) == 4
    for row in networks['rows']:
        assert (row['logits'] == row['gradients'] == 0) == (row['precision'] == 'fp32')
        assert row['passed'] and row['finite']
    assert [(row['mode'], row['sampler']) for row in speed['rows']] == [
        (mode, sampler) for mode in ('train', 'predict') for sampler in ('grid_sample', 'rows')
    ]
    assert all(row['images per second'] > 0 for row in speed['rows'])
    for step in (memory, waits):
        assert (step['status'], step['reason'], step['rows']) == ('skipped', 'needs a GPU', [])
    assert '| magnet | square | fp32 | True |' in page


def failing(setting):
    yield {'value': 1.0}
    raise ValueError('no | such thing')


def slow(setting):
    yield {'value': 2.0}
    time.sleep(60)


def wrong(setting):
    yield {'value': 3.0, 'passed': False}
    yield {'value': 4.0, 'passed': True}


def right(setting):
    yield {'value': 5.0, 'passed': True}


def test_failures_and_time(check):
    steps = [
        Step('failing', 0.2, failing),
        Step('slow', 0.2, slow),
        Step('wrong', 0.2, wrong),
        Step('long', 600, right),
        Step('right', 0.2, right),
    ]
    status, found, page = check('--minutes', '1', steps=steps)
    assert status == 1
    assert [(step['name'], step['status'], len(step['rows'])) for step in found] == [
        ('failing', 'failed', 1),
        ('slow', 'stopped', 1),
        ('wrong', 'failed', 2),
        ('long', 'skipped', 0),
        ('right', 'passed', 1),
    ]
    assert found[0]['reason'] == 'ValueError: no | such thing'
    assert found[1]['seconds'] < 5
    assert found[2]['reason'] == '1 of 2 rows'
    assert 'needs about 600 s' in found[3]['reason']
    assert r'no \| such thing' in page


def test_arguments(check, capsys, tmp_path):
    main = runpy.run_path(str(TOOL))['main']
    assert main([*SMALL, str(tmp_path), '--only', 'sped']) == 2
    assert 'sped is not among parity cases' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*SMALL, str(tmp_path), '--minutes', '0'])


def test_other_results_fail(keep, monkeypatch, tmp_path):
    keep('cris')
    monkeypatch.setitem(BOUNDS, 'bf16', (1e-6, 1.0))
    monkeypatch.setattr(gpu_steps, 'PARITY_BF16', 1e-6)
    setting = Setting('cpu', True, tmp_path)
    for step in (gpu_steps.check_networks, gpu_steps.check_parity):
        assert [row['passed'] for row in step(setting)] == [True, False]


@pytest.mark.slow
def test_compiled(tmp_path):
    rows = [*gpu_steps.measure_speed(Setting('cpu', True, tmp_path), compiled=True)]
    assert [row['mode'] for row in rows if row['images per second'] > 0] == ['train', 'predict']


@pytest.mark.slow
def test_memory(tmp_path):
    row = next(gpu_steps.check_memory(Setting('cpu', True, tmp_path)))
    assert row['ratio'] == pytest.approx(1, abs=0.05), row


def test_waits(keep, monkeypatch, tmp_path):
    """The second network waits; both have a profile."""
    modes = []

    def set_mode(mode):
        modes.append(mode)
        if modes.count('error') == 2 and mode == 'error':
            raise RuntimeError('called a synchronizing CUDA operation')

    keep('lavt', 'cris')
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', set_mode)
    rows = [*gpu_steps.check_waits(Setting('cpu', True, tmp_path))]
    assert [row['run'] for row in rows] == ['profile', 'no wait'] * 2
    assert [row.get('share of waiting', row.get('passed')) for row in rows] == [0, True, 0, False]
    assert re.match(r'RuntimeError in test_gpu_check.py:\d+: called a synchronizing', rows[3]['note'])
    assert modes[:3] == ['error', 'default', 'error']


@pytest.mark.parametrize(('status', 'score', 'passed'), [(0, 61.5, True), (0, 40.0, False), (3, None, None)])
def test_quickstart(status, score, passed, monkeypatch, tmp_path):
    class Run:
        returncode = status

        def __init__(self, command, **_):
            self.folder = Path(command[command.index('--work-dir') + 1])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait(self):
            self.folder.mkdir()
            scores = {'val': {'metrics': {'ref/oIoU': score}}, 'testA': {'metrics': {'ref/oIoU': 30.0}}}
            (self.folder / 'scores.json').write_text(json.dumps(scores))

        def terminate(self):
            pass

    monkeypatch.setattr(gpu_steps.subprocess, 'Popen', Run)
    rows = gpu_steps.run_quickstart(Setting('cpu', False, tmp_path))
    if status:
        with pytest.raises(RuntimeError, match='exit status 3'):
            next(rows)
    else:
        assert [(row['split'], row['passed']) for row in rows] == [('val', passed), ('testA', True)]
