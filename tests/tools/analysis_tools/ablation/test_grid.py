"""A grid is read, run, resumed, stopped and compared; train.py and test.py are stand-ins."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from grid import load_grid, run_grid
from report import report

from mmmagnet.utils.errors import ConfigError

ABLATION = Path(__file__).parents[4] / 'tools' / 'analysis_tools' / 'ablation'
GRID = """
splits = ['val', 'testB']
reference = 'a'
seeds = 2
runs = {
    'a': dict(config='one.py'),
    'b, x=0.5': dict(config='one.py', options={'model.neck.official_compat': True}),
    'c': dict(config='one.py', reference='b, x=0.5', seeds=1),
}
"""
# notes its call, fails where a file `broken` is, and leaves a checkpoint
TRAIN = """
import json, pathlib, sys
here, work = pathlib.Path(__file__), pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with here.with_name('calls').open('a') as calls:
    calls.write(json.dumps(sys.argv[1:]) + '\\n')
if here.with_name('broken').exists():
    sys.exit('error: broken')
work.mkdir(parents=True, exist_ok=True)
(work / 'last_checkpoint').write_text('x.pth')
"""
# three images of two pairs; oIoU grows with the seed, and by 10 where official_compat is on
TEST = """
import json, pathlib, sys
config, checkpoint = sys.argv[1:3]
scores, pairs = (pathlib.Path(sys.argv[sys.argv.index(flag) + 1]) for flag in ('--metrics-out', '--out'))
right = 50 + int(scores.parent.name[-1]) + 10 * ('official_compat=True' in pathlib.Path(config).read_text())
lines = [dict(image=str(i // 2), ref_id=i, sent_id=i, intersection=right + i, union=100) for i in range(6)]
for split in ('val', 'testB'):
    file = pairs.with_name(f'pairs_{split}.jsonl')
    file.write_text(''.join(json.dumps(line) + '\\n' for line in lines))
scores.write_text(json.dumps({split: {'metrics': {'ref/oIoU': right + 2.5}} for split in ('val', 'testB')}))
"""


@pytest.fixture
def grid_file(tmp_path):
    (tmp_path / 'one.py').write_text('model = dict(neck=dict(official_compat=False))\n')
    (tmp_path / 'grid.py').write_text(GRID)
    return tmp_path / 'grid.py'


@pytest.fixture
def tools(monkeypatch, tmp_path):
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(TRAIN)
    (folder / 'test.py').write_text(TEST)
    monkeypatch.setattr('grid.TOOLS', folder)
    return folder


def test_load_grid(grid_file, tmp_path):
    grid = load_grid(grid_file)
    assert ' '.join(f'{run.name[0]}{run.seed}' for run in grid.runs) == 'a0 b0 c0 a1 b1'
    assert grid.names == ['a', 'b, x=0.5', 'c']
    assert {run.name: run.reference for run in grid.runs} == {'a': 'a', 'b, x=0.5': 'a', 'c': 'b, x=0.5'}
    assert grid.runs[1].options == {'model.neck.official_compat': True}
    assert grid.runs[1].folder(tmp_path).relative_to(tmp_path).as_posix() == 'b_x_0.5/seed_0'
    assert [(run.name, run.seed) for run in load_grid(grid_file, ['c'], [7]).runs] == [('b, x=0.5', 7), ('c', 7)]


@pytest.mark.parametrize(
    ('change', 'only', 'message'),
    [
        (('seeds = 2', ''), None, 'has no `seeds`'),
        (("reference = 'a'", "reference = 'z'"), None, "has no run 'z'; there are a, b"),
        (('', ''), ['d'], "has no run 'd'"),
        (('seeds = 2', 'seeds = ='), None, r'grid\.py: SyntaxError'),
        (("'c': dict(", "'c': dict(option={}, "), None, "'c' has a config, and where needed options"),
        (("'c': dict(config=", "'c': dict(options="), None, "'c' has a config"),
    ],
)
def test_grids_that_cannot_be_run(grid_file, change, only, message):
    grid_file.write_text(grid_file.read_text().replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_grid(grid_file, only)


def test_files_that_are_missing(grid_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none\.py: no such config file'):
        load_grid(grid_file.with_name('none.py'))
    (tmp_path / 'one.py').unlink()
    with pytest.raises(FileNotFoundError, match=r'one\.py: no such config file'):
        run_grid(load_grid(grid_file), tmp_path / 'out', 1, 'cpu', None, {})


def test_run_resume_and_report(grid_file, tools, tmp_path, capsys):
    grid, out = load_grid(grid_file), tmp_path / 'out'
    (tools / 'broken').touch()
    assert run_grid(grid, out, 2, 'cpu', None, {}) == 5
    assert capsys.readouterr().out.count('FAILED, see ') == 5
    with pytest.raises(ConfigError, match='no run is finished there'):
        report(grid, out)

    (tools / 'broken').unlink()
    (tools / 'calls').unlink()
    assert run_grid(grid, out, 2, 'cpu', None, {}) == 0
    calls = [json.loads(line) for line in (tools / 'calls').read_text().splitlines()]
    assert sorted(call[0] for call in calls) == sorted(str(run.folder(out) / 'config.py') for run in grid.runs)
    assert all({'--resume', '--seed', '--device'} < set(call) for call in calls)
    assert run_grid(grid, out, 1, 'cpu', None, {}) == 0
    assert '5 runs, 5 of them finished earlier' in capsys.readouterr().out
    assert len((tools / 'calls').read_text().splitlines()) == 5

    text = report(grid, out)
    assert (out / 'table.md').read_text() == text
    assert '| a | 2 | 53.00 | 0.71 |  |  |  |  |  |' in text
    assert re.search(r'\| b, x=0\.5 \| 2 \| 63\.00 \| 0\.71 \| a \| \+10\.00 \| .* \| 2 of 2 \|', text)
    assert re.search(r'\| c \| 1 \| 52\.50 \|  \| b, x=0\.5 \| -10\.00 \| .* \| 0 of 1 \|', text)
    assert len(json.loads((out / 'table.json').read_text())) == 6
    assert (out / 'table.png').read_bytes().startswith(b'\x89PNG')
    with pytest.raises(ConfigError, match=r'config\.py: is of a run with other settings; remove'):
        run_grid(grid, out, 1, 'cpu', None, {'model.neck.pool_sizes': (1,)})


def test_a_new_split_is_scored(grid_file, tools, tmp_path):
    grid_file.write_text(GRID.replace(", 'testB'", ''))
    grid, out = load_grid(grid_file), tmp_path / 'out'
    assert run_grid(grid, out, 2, 'cpu', None, {}) == 0
    grid_file.write_text(GRID.replace('testB', 'testA'))
    grid = load_grid(grid_file)
    calls = len((tools / 'calls').read_text().splitlines())
    run_grid(grid, out, 2, 'cpu', None, {})
    assert len((tools / 'calls').read_text().splitlines()) == calls + len(grid.runs)


@pytest.mark.parametrize(
    ('device', 'visible', 'jobs', 'expected'),
    [('cuda', None, 3, '0 0 1'), (None, '4,7', 2, '4 7'), (None, '4,7', 1, '4'), ('cpu', '4,7', 2, '')],
)
def test_gpus(grid_file, tools, tmp_path, monkeypatch, device, visible, jobs, expected):
    """Every run at a time sees one GPU: all wait for each other in the training."""
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    (tools / 'train.py').write_text(
        'import os, pathlib, sys, time\n'
        'here = pathlib.Path(__file__)\n'
        'here.with_name(f"gpu_{os.getpid()}").write_text(os.environ["CUDA_VISIBLE_DEVICES"])\n'
        f'while len(list(here.parent.glob("gpu_*"))) < {jobs}: time.sleep(0.05)\n'
        'sys.exit(1)\n'
    )
    grid = load_grid(grid_file, seeds=range(jobs), only=['a'])
    assert run_grid(grid, tmp_path / 'out', jobs, device, None, {}) == jobs
    assert sorted(path.read_text() for path in tools.glob('gpu_*')) == (expected.split() or [''] * jobs)


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs signals of POSIX')
@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped(grid_file, tools, tmp_path, number, status):
    """The running processes end, and nothing else begins."""
    (tools / 'train.py').write_text(
        'import os, pathlib, time\n'
        'pathlib.Path(__file__).with_name(f"started_{os.getpid()}").touch()\n'
        'time.sleep(120)\n'
    )
    command = (
        'import pathlib, signal, sys\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored where the tests are a background job
        f'sys.path.insert(0, {str(ABLATION)!r})\n'
        'import ablate, grid\n'
        f'grid.TOOLS = pathlib.Path({str(tools)!r})\n'
        f'sys.exit(ablate.main([{str(grid_file)!r}, "--out", {str(tmp_path / "out")!r}, "--jobs", "2"]))'
    )
    process = subprocess.Popen([sys.executable, '-c', command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(started := list(tools.glob('started_*'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status and 'Traceback' not in said
    assert sorted(tools.glob('started_*')) == sorted(started) and len(started) == 2
    for path in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name.split('_')[1]), 0)


def test_seeds_are_pooled(tmp_path):
    """Means, spread and difference against numpy; one seed of the reference is not finished."""
    (tmp_path / 'one.py').write_text('')
    (tmp_path / 'grid.py').write_text(GRID.replace(", 'testB'", '').replace('seeds = 2', 'seeds = 3'))
    grid, generator = load_grid(tmp_path / 'grid.py', only=['b, x=0.5']), np.random.default_rng(0)
    scores: dict[str, list[float]] = {'a': [], 'b, x=0.5': []}
    for run in grid.runs:
        if (run.name, run.seed) == ('a', 2):
            continue
        folder = run.folder(tmp_path)
        folder.mkdir(parents=True)
        counts = generator.integers(30, 60, 40) + 20 * (run.name != 'a')
        lines = [
            dict(image=str(i // 2), ref_id=i, sent_id=i, intersection=int(n), union=100) for i, n in enumerate(counts)
        ]
        (folder / 'pairs.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
        scores[run.name].append(counts.mean())
        (folder / 'scores.json').write_text(json.dumps({'val': {'metrics': {'ref/oIoU': counts.mean()}}}))
    report(grid, tmp_path)
    first, second = json.loads((tmp_path / 'table.json').read_text())
    assert (first['scores'], second['scores']) == (scores['a'], scores['b, x=0.5'])
    assert first['spread'] == pytest.approx(np.std(scores['a'], ddof=1))
    difference = np.mean(scores['b, x=0.5'][:2]) - np.mean(scores['a'])
    assert (second['reference'], second['higher'], second['common']) == ('a', 2, 2)
    assert second['difference'] == pytest.approx(difference)
    assert second['low'] < difference < second['high'] and second['p'] < 0.01
