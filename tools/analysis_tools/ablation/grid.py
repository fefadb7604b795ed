"""A grid of trainings with several seeds: run it, resume it, compare its runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import torch
from mmengine.config import Config
from report import Result, as_json, plot, rows, table

from mmmagnet.evaluation.record import write_json
from mmmagnet.utils.config import load_config, parse_options
from mmmagnet.utils.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
TOOLS = (_PACKAGE / '.mim' if (_PACKAGE / '.mim').is_dir() else _PACKAGE.parent) / 'tools'


@dataclass(frozen=True)
class Run:
    """One training of the grid.

    Attributes:
        name: Of the config with its options, as the table calls it.
        config: The config file.
        options: Dotted names -> values that replace the config's.
        seed: Of weights, order and expressions.
    """

    name: str
    config: Path
    options: dict[str, Any]
    seed: int

    def folder(self, out: Path) -> Path:
        """Where it is trained, under the grid's folder."""
        slug = re.sub(r'[^a-z0-9.]+', '_', self.name.lower()).strip('_')
        return out / slug / f'seed_{self.seed}'


@dataclass(frozen=True)
class Grid:
    """What is trained, and how it is compared.

    Attributes:
        runs: All trainings, one seed of every name before the next seed.
        names: Of the runs, in the order of the table.
        splits: What each is scored on.
        references: Name -> the name that it is compared with.
    """

    runs: list[Run]
    names: list[str]
    splits: list[str]
    references: dict[str, str]


def load_grid(path: str | Path, only: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read a grid file.

    It has ``runs`` (name -> ``config``, and where they differ ``options``, ``reference`` and ``seeds``), ``splits``,
    ``reference`` (the name that runs are compared with) and ``seeds`` (their number).

    Args:
        path: The file; it is run, so it must be trusted. Configs are relative to its folder.
        only: Names to keep, and what they are compared with.
        seeds: Instead of the file's.

    Raises:
        FileNotFoundError: If the file or a config is not there.
        ConfigError: If a field is missing or not understood, a name unknown, an option no command line can have, or two
            names share a folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such grid file')
    try:
        content = Config.fromfile(str(path)).to_dict()
    except Exception as error:  # whatever a Python file may raise
        raise ConfigError(f'{path}: {type(error).__name__}: {error}') from error
    for field in ('runs', 'splits', 'reference', 'seeds'):
        if field not in content:
            raise ConfigError(f'{path}: has no `{field}`')
    named = content['runs']
    if not isinstance(named, dict) or not all(isinstance(run, dict) for run in named.values()):
        raise ConfigError(f'{path}: `runs` is a dict of name -> dict(config=...)')
    for name, run in named.items():
        strange = set(run) - {'config', 'options', 'reference', 'seeds'}
        if strange or 'config' not in run:
            problem = f'has the unknown field {min(strange)!r}' if strange else 'has no `config`'
            raise ConfigError(f'{path}: run {name!r} {problem}; fields are config, options, reference, seeds')
    references = {name: named[name].get('reference', content['reference']) for name in named}
    unknown = [name for name in [*(only or []), *references.values()] if name not in named]
    if unknown:
        raise ConfigError(f'{path}: has no run {unknown[0]!r}; there are {", ".join(named)}')
    kept = set(named if only is None else [*only, *(references[name] for name in only)])
    names = [name for name in named if name in kept]
    for name in names:
        config = path.parent / named[name]['config']
        if not config.is_file():
            raise FileNotFoundError(f'{config}: no such config file; run {name!r} of {path} names it')
        for option, value in (named[name].get('options') or {}).items():
            if parse_options([_as_text(option, value)]) != {option: value}:
                raise ConfigError(
                    f'{path}: options of run {name!r}: {option}={value!r} cannot be given on a command line; put it '
                    'into a config of its own'
                )
    counts = {name: named[name].get('seeds', content['seeds']) for name in names}
    if any(not isinstance(count, int) or count < 1 for count in counts.values()):
        raise ConfigError(f'{path}: `seeds` is a number from 1')
    if seeds is not None and (len(set(seeds)) < len(seeds) or min(seeds) < 0):
        raise ConfigError(f'seeds {list(seeds)}: each once, from 0')
    runs = [
        Run(name, path.parent / named[name]['config'], named[name].get('options') or {}, seed)
        for seed in (range(max(counts.values())) if seeds is None else seeds)
        for name in names
        if seeds is not None or seed < counts[name]
    ]
    folders: dict[Path, str] = {}
    for run in runs:
        other = folders.setdefault(run.folder(Path()), run.name)
        if other != run.name:
            raise ConfigError(f'{path}: runs {other!r} and {run.name!r} would share a folder; rename one')
    return Grid(runs, names, list(content['splits']), references)


def _as_text(option: str, value: Any) -> str:
    return f'{option}={value}'.replace(' ', '')


def run_grid(
    grid: Grid, out: Path, jobs: int, device: str | None, data_root: str | None, options: Sequence[str] = ()
) -> int:
    """Train and score what is not finished, `jobs` runs at a time, each in processes of its own.

    A finished run holds ``result.json``. One whose config has changed since is refused, not mixed with the others.

    Returns:
        Number of runs that failed.

    Raises:
        ConfigError: If a folder holds a run with other settings.
    """
    for run in grid.runs:
        _claim(run, out, data_root, options)
    waiting = [run for run in grid.runs if not (run.folder(out) / 'result.json').is_file()]
    print(f'{len(grid.runs)} runs, {len(grid.runs) - len(waiting)} of them finished earlier', flush=True)
    failed, processes, gpus = 0, _Processes(), _gpus(device, jobs)
    with ThreadPoolExecutor(jobs) as pool:
        done = [
            pool.submit(_train_and_score, run, grid, out, device, data_root, options, processes, gpus)
            for run in waiting
        ]
        try:
            for number, (run, future) in enumerate(zip(waiting, done, strict=True), start=1):
                failure = future.result()
                failed += failure is not None
                state = failure or json.loads((run.folder(out) / 'result.json').read_text())['seconds']
                words = state if isinstance(state, str) else f'{state / 60:.1f} min'
                print(f'{number}/{len(waiting)} {run.name}, seed {run.seed}: {words}', flush=True)
        except BaseException:  # Ctrl-C and SIGTERM end the grid, not only its present runs
            processes.end()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


class _Processes:
    """Commands that threads run, which can be ended together."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.ended = False
        self.lock = threading.Lock()

    def run(self, command: Sequence[str], stream: IO[str], environment: dict[str, str]) -> bool:
        """Run a command to its end, with all it prints in `stream`; tells if it succeeded."""
        with self.lock:
            if self.ended:
                return False
            process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            self.running.add(process)
        status = process.wait()
        with self.lock:
            self.running.remove(process)
        return status == 0

    def end(self) -> None:
        """Ask what runs to end; nothing more begins."""
        with self.lock:
            self.ended = True
            for process in self.running:
                process.terminate()


def _claim(run: Run, out: Path, data_root: str | None, options: Sequence[str]) -> None:
    """Note the settings of a run in its folder, or check that they are those noted there."""
    config = load_config(run.config, run.options, data_root).pretty_text
    settings = hashlib.sha256(f'{config}{sorted(options)}'.encode()).hexdigest()
    folder = run.folder(out)
    noted = folder / 'settings.sha256'
    if noted.is_file() and noted.read_text() != settings:
        raise ConfigError(
            f'{folder}: holds a run of {run.name!r} with other settings: remove it, or give another --out'
        )
    folder.mkdir(parents=True, exist_ok=True)
    noted.write_text(settings)


def _gpus(device: str | None, jobs: int) -> SimpleQueue[str]:
    """For each run at a time the GPU that it sees, as CUDA_VISIBLE_DEVICES has it; empty names on a CPU."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(torch.cuda.device_count()))))
    gpus: SimpleQueue[str] = SimpleQueue()
    for gpu in islice(cycle([''] if device == 'cpu' else visible.split(',')), jobs):
        gpus.put(gpu)
    return gpus


def _train_and_score(
    run: Run,
    grid: Grid,
    out: Path,
    device: str | None,
    data_root: str | None,
    options: Sequence[str],
    processes: _Processes,
    gpus: SimpleQueue[str],
) -> str | None:
    """One run to its end; returns what went wrong."""
    folder, began = run.folder(out), time.monotonic()
    spent = folder / 'spent.json'
    before = json.loads(spent.read_text())['seconds'] if spent.is_file() else 0.0  # in calls that were stopped
    shared = ['--work-dir', str(folder / 'work')]
    shared += ['--device', device] if device else []
    shared += ['--data-root', data_root] if data_root else []
    replaced = [_as_text(name, value) for name, value in run.options.items()] + list(options)
    shared += ['--cfg-options', *replaced] if replaced else []
    log = folder / 'log.txt'

    def command(tool: str, *arguments: str) -> bool:
        given = [sys.executable, str(TOOLS / tool), str(run.config), *arguments, *shared]
        gpu = gpus.get()
        try:
            with log.open('a') as stream:
                environment = {'OMP_NUM_THREADS': '1', **os.environ, 'CUDA_VISIBLE_DEVICES': gpu}
                return processes.run(given, stream, environment)
        finally:
            gpus.put(gpu)
            write_json(spent, {'seconds': before + time.monotonic() - began})

    if not command('train.py', '--resume', '--seed', str(run.seed)):
        return f'FAILED in training, see {log}'
    checkpoint = (folder / 'work' / 'last_checkpoint').read_text().strip()
    scored = [
        '--split',
        *grid.splits,
        '--metrics-out',
        str(folder / 'scores.json'),
        '--out',
        str(folder / 'pairs.jsonl'),
    ]
    if not command('test.py', checkpoint, *scored):
        return f'FAILED in scoring, see {log}'
    scores = json.loads((folder / 'scores.json').read_text())
    result = {
        'name': run.name,
        'seed': run.seed,
        'seconds': before + time.monotonic() - began,
        'metrics': {split: scores[split]['metrics'] for split in grid.splits},
    }
    write_json(folder / 'result.json', result)
    return None


def report(grid: Grid, out: Path) -> str:
    """Compare the finished runs; writes ``table.md``, ``table.json`` and ``table.png``, and returns the table.

    Raises:
        ConfigError: If no run is finished, or one was not scored on a split of the grid.
    """
    results = []
    for run in grid.runs:
        folder = run.folder(out)
        if not (folder / 'result.json').is_file():
            continue
        stored = json.loads((folder / 'result.json').read_text())
        missing = [split for split in grid.splits if split not in stored['metrics']]
        if missing:
            raise ConfigError(
                f'{folder}: was not scored on {missing[0]}, which the grid has now: remove its result.json and run the '
                'grid, which scores it again'
            )
        scores = {split: stored['metrics'][split]['ref/oIoU'] for split in grid.splits}
        several = len(grid.splits) > 1
        dumps = {split: folder / (f'pairs_{split}.jsonl' if several else 'pairs.jsonl') for split in grid.splits}
        results.append(Result(run.name, run.seed, stored['seconds'], scores, dumps))
    if not results:
        raise ConfigError(f'{out}: no run is finished there')
    summary = rows(results, grid.names, grid.references, grid.splits)
    text = table(summary)
    (out / 'table.md').write_text(text)
    (out / 'table.json').write_text(json.dumps(as_json(summary), indent=2) + '\n')
    plot(summary, out / 'table.png')
    return text
