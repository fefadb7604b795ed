"""A grid of trainings with several seeds: reading it, and running what is not finished."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmmagnet.utils.config import load_config
from mmmagnet.utils.errors import ConfigError
from mmmagnet.utils.io import atomic_write

HERE = Path(__file__).resolve().parent
TOOLS = HERE.parents[1]
FIELDS = dict.fromkeys(('config', 'options', 'reference', 'seeds'))


@dataclass(frozen=True)
class Run:
    """One training of a grid, a row of the table with its `reference` (itself for none) and a seed."""

    name: str
    config: Path
    options: dict[str, Any]
    reference: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Folder of the run's files inside the grid's folder `out`."""
        return out / re.sub(r'[^a-z0-9.]+', '_', self.name.lower()).strip('_') / f'seed_{self.seed}'


@dataclass(frozen=True)
class Grid:
    """All trainings to compare, one seed of every name before the next seed, and the splits they are scored on."""

    runs: list[Run]
    splits: list[str]

    @property
    def names(self) -> list[str]:
        """Names of the runs, each once, in the order of the table."""
        return list(dict.fromkeys(run.name for run in self.runs))


def load_grid(path: str | Path, only: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> Grid:
    """Read a grid file such as ``configs/ablation/grid.py``. It is run, so it must be trusted.

    Args:
        path: File with ``runs``, ``splits``, ``reference`` and ``seeds`` (how many). Its folder holds the configs.
        only: Names to keep; what they are compared with is kept, too. None keeps all.
        seeds: Seeds of every run, instead of the file's.

    Raises:
        FileNotFoundError: If the file is missing.
        ConfigError: If a field is missing or unknown, or a name is unknown.
    """
    content = load_config(path).to_dict()
    if missing := [field for field in ('runs', 'splits', 'reference', 'seeds') if field not in content]:
        raise ConfigError(f'{path}: has no `{missing[0]}`')
    table = {name: {**FIELDS, **content['runs'][name]} for name in content['runs']}
    for name, run in table.items():
        run['reference'] = run['reference'] or content['reference']
        run['seeds'] = range(run['seeds'] or content['seeds']) if seeds is None else seeds
        if run.keys() != FIELDS.keys() or not run['config']:
            raise ConfigError(f'{path}: run {name!r} has a config, and where needed options, reference, seeds')
    kept = [*(only or table), *(table[name]['reference'] for name in only or table if name in table)]
    if unknown := [name for name in kept if name not in table]:
        raise ConfigError(f'{path}: has no run {unknown[0]!r}; there are {", ".join(table)}')
    runs = [
        Run(name, Path(path).parent / run['config'], run['options'] or {}, run['reference'], seed)
        for name, run in table.items()
        for seed in run['seeds']
        if name in kept
    ]
    return Grid(sorted(runs, key=lambda run: run.seed), list(content['splits']))


def scores_of(run: Run, grid: Grid, out: Path) -> dict[str, Any] | None:
    """Scores of a finished run, by split; None if it is not finished."""
    path = run.folder(out) / 'scores.json'
    scores = json.loads(path.read_text()) if path.is_file() else {}
    return scores if scores.keys() >= {*grid.splits} else None


def run_grid(grid: Grid, out: Path, jobs: int, device: str | None, data_root: str | None, options: dict) -> int:
    """Train and score what is not finished, `jobs` runs at a time, and return how many failed.

    Each run has a folder in `out` with its whole config, and processes of its own on one of the visible GPUs. An
    interrupted run is resumed.

    Raises:
        FileNotFoundError: If a config is missing.
        ConfigError: If a folder of `out` holds a run with other settings.
    """
    for run in grid.runs:
        text = load_config(run.config, {**run.options, **options}, data_root).pretty_text
        path = run.folder(out) / 'config.py'
        if path.is_file() and path.read_text() != text:
            raise ConfigError(f'{path}: is of a run with other settings; remove its folder, or give another --out')
        with atomic_write(path) as file:
            file.write(text)
    waiting = [run for run in grid.runs if scores_of(run, grid, out) is None]
    print(f'{len(grid.runs)} runs, {len(grid.runs) - len(waiting)} of them finished earlier', flush=True)
    lock, stopped, processes = threading.Lock(), threading.Event(), list[subprocess.Popen[bytes]]()
    seen = os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(torch.cuda.device_count())))).split(',')
    gpus, worker = ['' if device == 'cpu' else seen[job % len(seen)] for job in range(jobs)], threading.local()

    def train_and_score(run: Run) -> bool:
        path = f'{os.environ.get("PYTHONPATH", HERE)}{os.pathsep}{HERE}'  # a config may import from here
        environment = {'OMP_NUM_THREADS': '1', **os.environ, 'CUDA_VISIBLE_DEVICES': worker.gpu, 'PYTHONPATH': path}
        log = run.folder(out) / 'log.txt'
        for command in _commands(run, grid, out, device):
            with lock, log.open('a') as stream:
                if stopped.is_set():
                    return False
                process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
                processes.append(process)
            if process.wait() != 0:
                print(f'{run.name}, seed {run.seed}: FAILED, see {log}', flush=True)
                return False
        print(f'{run.name}, seed {run.seed}: done', flush=True)
        return True

    with ThreadPoolExecutor(jobs, initializer=lambda: setattr(worker, 'gpu', gpus.pop())) as pool:
        futures = [pool.submit(train_and_score, run) for run in waiting]
        try:
            return sum(not future.result() for future in futures)
        except BaseException:  # Ctrl-C and SIGTERM end what runs, and nothing more starts
            with lock:
                stopped.set()
                for process in processes:
                    process.terminate()
            raise


def _commands(run: Run, grid: Grid, out: Path, device: str | None) -> Iterator[list[str]]:
    folder = run.folder(out)
    shared = ['--work-dir', str(folder / 'work'), *(['--device', device] if device else [])]
    train, test = ([sys.executable, str(TOOLS / tool), str(folder / 'config.py')] for tool in ('train.py', 'test.py'))
    yield [*train, '--resume', '--seed', str(run.seed), *shared]
    checkpoint = (folder / 'work' / 'last_checkpoint').read_text().strip()  # it is there after the training
    files = ['--metrics-out', str(folder / 'scores.json'), '--out', str(folder / 'pairs.jsonl')]
    yield [*test, checkpoint, '--split', *grid.splits, *files, *shared]
