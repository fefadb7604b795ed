"""The grid: read, run, resumed, compared."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import grid as ablation
import numpy as np
import pytest
from grid import load_grid, report, run_grid
from report import Result, rows, table

from mmmagnet.utils.errors import ConfigError

ROOT = Path(__file__).parents[4]
GRID = """
splits = ['val', 'testB']
reference = 'a'
seeds = 2
runs = {
    'a': dict(config='one.py'),
    'b, x=0.5': dict(config='one.py', options={'model.neck.official_compat': True}),
    'c': dict(config='one.py', reference='b, x=0.5'),
}
"""


@pytest.fixture
def grid_file(tmp_path):
    (tmp_path / 'one.py').write_text('model = dict(neck=dict(official_compat=False))\n')
    (tmp_path / 'grid.py').write_text(GRID)
    return tmp_path / 'grid.py'


def test_load_grid(grid_file, tmp_path):
    grid = load_grid(grid_file)
    assert [(run.name, run.seed) for run in grid.runs] == [(name, seed) for seed in (0, 1) for name in grid.names]
    assert grid.names == ['a', 'b, x=0.5', 'c']
    assert grid.references == {'a': 'a', 'b, x=0.5': 'a', 'c': 'b, x=0.5'}
    assert grid.runs[1].options == {'model.neck.official_compat': True}
    assert grid.runs[1].folder(tmp_path).relative_to(tmp_path).as_posix() == 'b_x_0.5/seed_0'
    assert load_grid(grid_file, ['c'], [7]).names == ['b, x=0.5', 'c']
    assert [run.seed for run in load_grid(grid_file, ['c'], [7]).runs] == [7, 7]


def test_a_run_with_fewer_seeds(grid_file):
    grid_file.write_text(GRID.replace("'c': dict(", "'c': dict(seeds=1, "))
    assert ' '.join(f'{run.name[0]}{run.seed}' for run in load_grid(grid_file).runs) == 'a0 b0 c0 a1 b1'
    assert [run.seed for run in load_grid(grid_file, ['c'], [7]).runs] == [7, 7]


@pytest.mark.parametrize(
    ('change', 'only', 'error', 'message'),
    [
        (('seeds = 2', ''), None, ConfigError, 'has no `seeds`'),
        (("reference = 'a'", "reference = 'z'"), None, ConfigError, "has no run 'z'; there are a, b"),
        (('', ''), ['d'], ConfigError, "has no run 'd'"),
        (('seeds = 2', 'seeds = 0'), None, ConfigError, '`seeds` is a number from 1'),
        (('seeds = 2', "seeds = '2'"), None, ConfigError, '`seeds` is a number from 1'),
        (('seeds = 2', 'seeds = ='), None, ConfigError, r'grid\.py: SyntaxError'),
        (("'c': dict(", "'c': dict(option={}, "), None, ConfigError, "'c' has the unknown field 'option'; fields are"),
        (("'c': dict(config=", "'c': dict(options="), None, ConfigError, "'c' has no `config`"),
        (("'c': dict(", "'B x_0.5': dict("), None, ConfigError, "'b, x=0.5' and 'B x_0.5' would share"),
        (
            ("'c': dict(config='one.py', reference='b, x=0.5')", "'c': 'one.py'"),
            None,
            ConfigError,
            'dict of name -> dict',
        ),
        (
            ("official_compat': True", "parts': [dict(type='x')]"),
            None,
            ConfigError,
            'cannot be given on a command line',
        ),
        (
            ("official_compat': True", "official_compat': 'two words'"),
            None,
            ConfigError,
            'cannot be given on a command line',
        ),
        (("'one.py')", "'two.py')"), None, FileNotFoundError, r"two\.py: no such config file; run 'a'"),
    ],
)
def test_grids_that_cannot_be_run(grid_file, change, only, error, message):
    grid_file.write_text(grid_file.read_text().replace(*change))
    with pytest.raises(error, match=message):
        load_grid(grid_file, only)
    with pytest.raises(FileNotFoundError, match=r'none\.py: no such grid file'):
        load_grid(grid_file.with_name('none.py'))


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """Stand-ins for train.py and test.py that note how they were called; training fails where a file `broken` is."""
    folder = tmp_path / 'tools'
    folder.mkdir()
    (folder / 'train.py').write_text(
        'import json, pathlib, sys\n'
        'work = pathlib.Path(sys.argv[sys.argv.index("--work-dir") + 1])\n'
        'work.mkdir(parents=True, exist_ok=True)\n'
        'with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:\n'
        '    calls.write(json.dumps(sys.argv[1:]) + "\\n")\n'
        'if pathlib.Path(__file__).with_name("broken").exists(): sys.exit("error: broken")\n'
        '(work / "last_checkpoint").write_text("x.pth")\n'
    )
    (folder / 'test.py').write_text(
        'import json, pathlib, sys\n'
        'scores, dump = (pathlib.Path(sys.argv[sys.argv.index(name) + 1]) for name in ("--metrics-out", "--out"))\n'
        'seed = int(scores.parent.name[-1])\n'
        'names = ["val", "testB"]\n'
        'scores.write_text(json.dumps({name: {"metrics": {"ref/oIoU": 50 + seed}} for name in names}))\n'
        'pair = {"image": "i", "ref_id": 1, "sent_id": 1, "intersection": 50 + seed, "union": 100}\n'
        'for name in names: dump.with_name(f"pairs_{name}.jsonl").write_text(json.dumps(pair) + "\\n")\n'
    )
    monkeypatch.setattr('grid.TOOLS', folder)
    return folder


def test_run_resume_and_report(grid_file, tools, tmp_path, capsys):
    grid, out = load_grid(grid_file), tmp_path / 'out'
    (tools / 'broken').touch()
    assert run_grid(grid, out, 2, 'cpu', None, ['x=1']) == 6
    assert capsys.readouterr().out.count('FAILED in training, see ') == 6
    with pytest.raises(ConfigError, match='no run is finished there'):
        report(grid, out)

    (tools / 'broken').unlink()
    (tools / 'calls').unlink()
    (out / 'c' / 'seed_1' / 'spent.json').write_text('{"seconds": 600.0}')  # of calls that were stopped
    assert run_grid(grid, out, 2, 'cpu', None, ['x=1']) == 0
    calls = [json.loads(line) for line in (tools / 'calls').read_text().splitlines()]
    assert len(calls) == 6
    options = [call[call.index('--cfg-options') + 1 :] for call in calls]
    assert sorted(options) == sorted(4 * [['x=1']] + 2 * [['model.neck.official_compat=True', 'x=1']])
    assert run_grid(grid, out, 1, 'cpu', None, ['x=1']) == 0
    assert '6 runs, 6 of them finished earlier' in capsys.readouterr().out
    assert len((tools / 'calls').read_text().splitlines()) == 6

    assert json.loads((out / 'c' / 'seed_1' / 'result.json').read_text())['seconds'] > 600
    text = report(grid, out)
    assert (out / 'table.md').read_text() == text
    assert re.search(r'\| b, x=0\.5 \| 2 \| 50\.50 \| 0\.71 \| a \| \+0\.00 \| .* \| 0 of 2 \|', text)
    assert len(json.loads((out / 'table.json').read_text())) == 6
    assert (out / 'table.png').stat().st_size > 1000
    with pytest.raises(ConfigError, match=r'holds a run of .* with other settings: remove it'):
        run_grid(grid, out, 1, 'cpu', None, ['x=2'])


def test_a_split_that_came_later(grid_file, tools, tmp_path):
    assert run_grid(load_grid(grid_file), tmp_path / 'out', 2, 'cpu', None) == 0
    grid_file.write_text(GRID.replace("'testB'", "'testA'"))
    with pytest.raises(ConfigError, match=r'seed_0: was not scored on testA.*remove its result\.json'):
        report(load_grid(grid_file), tmp_path / 'out')


@pytest.mark.parametrize(
    ('device', 'visible', 'jobs', 'expected'),
    [
        (None, None, 3, ['0', '1', '0']),
        ('cuda', '4,7', 2, ['4', '7']),
        (None, '4,7', 1, ['4']),
        ('cpu', '4,7', 2, ['', '']),
    ],
)
def test_gpus(monkeypatch, device, visible, jobs, expected):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    gpus = ablation._gpus(device, jobs)
    assert [gpus.get() for _ in range(jobs)] == expected
    assert gpus.empty()


@pytest.mark.skipif(not hasattr(signal, 'SIGKILL'), reason='needs signals of POSIX')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_stopped(grid_file, tools, tmp_path, number):
    """What runs is ended, and nothing else begins."""
    (tools / 'train.py').write_text(
        'import os, pathlib, time\n'
        'pathlib.Path(__file__).with_name(f"started_{os.getpid()}").touch()\n'
        'time.sleep(120)\n'
    )
    command = (
        'import pathlib, signal, sys, grid as ablation\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored where the tests are a background job
        f'ablation.TOOLS = pathlib.Path({str(tools)!r})\n'
        f'sys.path.insert(0, {str(ROOT / "tools" / "analysis_tools")!r})\n'
        'import ablate\n'
        f'sys.exit(ablate.main([{str(grid_file)!r}, "--out", {str(tmp_path / "out")!r}, "--jobs", "2"]))'
    )
    process = subprocess.Popen([sys.executable, '-c', command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(started := list(tools.glob('started_*'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    expected = {signal.SIGTERM: (143, 'error: stopped by SIGTERM'), signal.SIGINT: (130, 'interrupted')}
    assert (process.returncode, said.splitlines()[-1]) == expected[number]
    assert list(tools.glob('started_*')) == started and len(started) == 2
    for path in started:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name.split('_')[1]), 0)


def test_numbers(tmp_path):
    """Means, spreads and differences by hand."""
    generator = np.random.default_rng(0)
    results = []
    for name, better in (('a', 0), ('b', 20)):
        for seed in (0, 1, 2):
            path = tmp_path / f'{name}{seed}.jsonl'
            pairs = [
                {
                    'image': f'{i // 2}',
                    'ref_id': i,
                    'sent_id': i,
                    'intersection': int(generator.integers(30, 60)) + better,
                    'union': 100,
                }
                for i in range(40)
            ]
            path.write_text(''.join(json.dumps(pair) + '\n' for pair in pairs))
            score = sum(pair['intersection'] for pair in pairs) / 40
            results.append(Result(name, seed, 60.0 * (seed + 1), {'val': score}, {'val': path}))
    first, second = rows(results, ['a', 'c', 'b'], {'a': 'a', 'b': 'a', 'c': 'a'}, ['val'])
    means = [np.mean([result.scores['val'] for result in results if result.name == name]) for name in 'ab']
    assert first.difference is None and first.reference is None
    assert (second.reference, second.higher, second.common) == ('a', 3, 3)
    assert second.difference.difference == pytest.approx(means[1] - means[0])
    assert second.difference.low < means[1] - means[0] < second.difference.high
    assert second.difference.p_value < 0.01
    assert second.spread == pytest.approx(np.std(second.scores, ddof=1))
    assert second.minutes == 2
    assert f'| {means[0]:.2f} | {first.spread:.2f} |  |  |  |  |  | 2.0 |' in table([first])
    assert rows(results[:1], ['a'], {'a': 'a'}, ['val'])[0].spread == 0
