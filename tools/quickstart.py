"""From nothing to a trained network: synthetic data, training, scores and images, each by its standard tool.

`bash tools/quickstart.sh` makes the environment and starts this. A second run goes on from what the first one left.

Example:
    bash tools/quickstart.sh --smoke
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Plan:
    """What one kind of quickstart trains, on what, and where the results go. Paths are relative to the project."""

    config: str
    work_dir: str
    duration: str  # of the training on two CPU cores
    data: str | None = 'data/synthetic_easy'  # None: inside the work dir
    counts: dict[str, int] = field(default_factory=dict)  # split -> images, where not the generator's default
    options: tuple[str, ...] = ()  # NAME=VALUE, instead of the config's
    processes: int = 2  # on CPUs; they share the batch of the training


TINY = 'configs/magnet_tiny_synthetic.py'
PLANS = {
    'fast': Plan(
        'configs/magnet_tiny_quickstart.py',
        'work_dirs/quickstart',
        '5 minutes',
        data='data/synthetic_quickstart',
        counts={'train': 5400, 'val': 200, 'testA': 100, 'testB': 100},
    ),
    'long': Plan(TINY, 'work_dirs/quickstart_long', '30 minutes'),
    'smoke': Plan(
        TINY,
        'work_dirs/smoke',
        '20 seconds',
        data=None,
        counts={'train': 24, 'val': 6, 'testA': 4, 'testB': 4},
        options=('train_cfg.max_epochs=1',),
    ),
}


class StageError(Exception):
    """A command of the quickstart failed."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='bash tools/quickstart.sh',
        description='Train MagNet in miniature on synthetic data, score it and show it.',
    )
    kind = parser.add_mutually_exclusive_group()
    kinds = {'smoke': 'every step on a handful of images: the scores mean nothing', 'long': 'the 30-minute training'}
    for name, text in kinds.items():
        kind.add_argument(f'--{name}', dest='plan', action='store_const', const=name, default='fast', help=text)
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    folders = ', '.join(f'{plan.work_dir} ({name})' for name, plan in PLANS.items())
    parser.add_argument('--work-dir', type=Path, help=f'checkpoints, logs, scores and images (default: {folders})')
    parser.add_argument('--parse-only', action='store_true', help=argparse.SUPPRESS)  # before the installation
    return parser.parse_args(argv)


def progress_of(line: str) -> tuple[str, bool] | None:
    """A tool's line of output in short, and whether it stays on the screen; None for a line that says no progress."""
    if found := re.search(
        r'(?:Epoch|Iter)\(train\)\s+(?:\[(\d+)\])?\[\s*(\d+)/(\d+)\].* eta: (.*?)  .*\bloss: ([\d.]+|nan)', line
    ):
        epoch, step, steps, eta, loss = found.groups()
        place = f'epoch {epoch}, step {step} of {steps}' if epoch else f'step {step} of {steps}'
        return f'{place}, {time_left(eta)} left, loss {float(loss):.2f}', False
    if found := re.search(r'(?:Epoch|Iter)\((?:val|test)\)\s+(?:\[\d+\])?\[\s*(\d+)/(\d+)\].* eta: (.*?)  ', line):
        batch, batches, eta = found.groups()
        return f'scoring, batch {batch} of {batches}, {time_left(eta)} left', False
    if found := re.search(r'\(val\).*\bref/oIoU: ([\d.]+)  ref/mIoU: ([\d.]+)', line):
        return f'validation: oIoU {float(found[1]):.2f}, mIoU {float(found[2]):.2f}', True
    if re.search(r'\d+/\d+ images', line):
        return line, False
    if re.match(r'wrote |.*already holds|\w+ \(\w+ resolution.*\): ', line):
        return line, True
    if found := re.search(r'[Rr]esumed epoch: \d+, iter: \d+', line):
        return found[0], True
    return None


def time_left(eta: str) -> str:
    """MMEngine's remaining time (``1 day, 2:03:04``) in words."""
    days, _, clock = eta.rpartition(', ')
    hours, minutes, seconds = map(int, clock.split(':'))
    total = (int(days.split()[0]) * 24 + hours if days else hours) * 3600 + minutes * 60 + seconds
    return f'{total / 60:.0f} min' if total >= 90 else f'{total} s'


class Display:
    """Progress: one running line on a terminal, a line each `every` seconds in a log."""

    def __init__(self, every: float = 20.0) -> None:
        self.every = every
        self.shown = 0.0
        self.terminal = sys.stdout.isatty()

    def show(self, text: str, stays: bool) -> None:
        """Print a line of progress, unless a log had one a moment ago and this one does not stay."""
        if self.terminal:
            print(f'\r\033[K    {text[:100]}', end='\n' if stays else '', flush=True)
        elif stays or time.monotonic() - self.shown >= self.every:
            self.shown = time.monotonic()
            print(f'    {text[:160]}', flush=True)

    def clear(self) -> None:
        """Remove the running line."""
        print('\r\033[K' if self.terminal else '', end='', flush=True)


def run_stage(name: str, command: Sequence[str | Path], log: Path) -> None:
    """Run a command with its output in a file and its progress on the terminal; end it when this process is ended.

    Raises:
        StageError: If it fails; what it said last is on stderr.
        OSError: If the file cannot be written.
    """
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1', 'PYTHON': sys.executable}
    environment.setdefault('OMP_WAIT_POLICY', 'passive')  # spinning threads stall each other on a busy machine
    environment.setdefault('OMP_NUM_THREADS', str(min(2, os.cpu_count() or 1)))
    display, last, reported = Display(), [''], False
    with (
        log.open('w', encoding='utf-8') as file,
        subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,  # a group that is ended as one
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                file.flush()
                reported = reported or 'torch/distributed/elastic/' in line  # torchrun, after the tool's own error
                last = last if reported else [*last[-9:], line]
                if progress := progress_of(line.strip()):
                    display.show(*progress)
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            display.clear()
    if process.returncode != 0:
        sys.stderr.write(''.join(last))
        raise StageError(f'{name} failed with exit status {process.returncode} (all output: {shown(log)})')


def heading(text: str) -> None:
    """Say what comes next."""
    print(f'==> {text}', flush=True)


def shown(path: Path) -> str:
    """A path as the user would type it: relative to where they are, where it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def prepare_work_dir(plan: Plan, work_dir: Path, config: dict) -> None:
    """Make the folder; one that another plan, or the same one with another config, filled is moved aside."""
    settings = json.dumps([plan.config, plan.counts, plan.options, config], default=str, sort_keys=True, indent=1)
    stamp = work_dir / 'settings.json'
    if work_dir.exists() and stamp.is_file() and stamp.read_text(encoding='utf-8') != settings:
        aside = work_dir.with_name(f'{work_dir.name}.{time.strftime("%Y%m%d-%H%M%S")}')
        work_dir.rename(aside)
        print(f'    {shown(work_dir)} held a training with other settings, now in {shown(aside)}')
    work_dir.mkdir(parents=True, exist_ok=True)
    stamp.write_text(settings, encoding='utf-8')


def tool_command(tool: str, files: Sequence[str | Path], processes: int) -> list[str | Path]:
    """The start of `train` or `test`: one process, or several on CPUs."""
    if processes == 1:
        return [sys.executable, f'tools/{tool}.py', *files]
    return ['bash', f'tools/dist_{tool}.sh', *files, str(processes)]


def find_checkpoint(work_dir: Path) -> Path | None:
    """The best checkpoint of a training, or its last one; None where there is none."""
    best = max(work_dir.glob('best_ref_oIoU_*.pth'), key=lambda path: path.stat().st_mtime, default=None)
    pointer = work_dir / 'last_checkpoint'
    last = Path(pointer.read_text(encoding='utf-8').strip()) if pointer.is_file() else None
    return best or (last if last is not None and last.is_file() else None)


def train(plan: Plan, work_dir: Path, data: Path, batch_size: int, device: list[str], processes: int) -> Path:
    """Train, or go on; returns the best checkpoint."""
    finished = work_dir / 'finished'
    if finished.exists() and (checkpoint := find_checkpoint(work_dir)):
        print(f'    finished earlier: {shown(checkpoint)}')
        return checkpoint
    command = tool_command('train', [plan.config], processes)
    command += ['--work-dir', work_dir, '--data-root', data, '--resume', *device]
    shared = [f'train_dataloader.batch_size={batch_size // processes}', 'train_dataloader.num_workers=1']
    options = [*(shared if processes > 1 else []), *plan.options]
    command += ['--cfg-options', *options] if options else []
    run_stage('training', command, work_dir / 'train.log')
    if (checkpoint := find_checkpoint(work_dir)) is None:
        raise StageError(f'training left no checkpoint (all output: {shown(work_dir / "train.log")})')
    finished.touch()
    return checkpoint


def next_command(data: Path, checkpoint: Path) -> str:
    """What to try next: inference on the first validation image with one of its expressions."""
    with (data / 'refs.jsonl').open(encoding='utf-8') as file:
        ref = next(ref for ref in map(json.loads, file) if ref['split'] == 'val')
    instances = json.loads((data / 'instances.json').read_text(encoding='utf-8'))
    name = next(image['file_name'] for image in instances['images'] if image['id'] == ref['image_id'])
    parts = [shown(path) for path in (Path(sys.executable), ROOT / 'tools/infer.py', data / 'images' / name)]
    return shlex.join([*parts, '--text', ref['sentences'][0]['raw'], '--checkpoint', shown(checkpoint)])


def quickstart(args: argparse.Namespace) -> None:
    """Run all stages; raises StageError and OSError."""
    import torch
    from mmengine.config import Config

    plan = PLANS[args.plan]
    began = time.monotonic()
    config = Config.fromfile(ROOT / plan.config, import_custom_modules=False)
    work_dir = Path.cwd() / args.work_dir if args.work_dir else ROOT / plan.work_dir
    data = ROOT / plan.data if plan.data else work_dir / 'data'
    on_gpu = args.device != 'cpu' and (args.device == 'cuda' or torch.cuda.is_available())
    device = ['--device', 'cuda' if on_gpu else 'cpu']
    processes = 1 if on_gpu else min(plan.processes, os.cpu_count() or 1)
    prepare_work_dir(plan, work_dir, config.to_dict())

    heading(f'data: {shown(data)} (under a minute)')
    counts = [f'--{split}={count}' for split, count in plan.counts.items()]
    generate = [sys.executable, 'tools/dataset_converters/synthetic.py', '--level', 'easy', '--out', data, *counts]
    run_stage('data', generate, work_dir / 'data.log')

    heading(f'training: {plan.config} ({plan.duration} on two CPU cores)')
    checkpoint = train(plan, work_dir, data, config.train_dataloader.batch_size, device, processes)

    heading('scores: val, testA and testB, then val with the expressions of each image swapped (a minute)')
    score = [*tool_command('test', [plan.config, checkpoint], processes), '--data-root', data, *device]
    files = [work_dir / 'scores.json', work_dir / 'scores_swapped.json']
    show = ['--show-dir', work_dir / 'images', '--show-limit', '8']
    splits: list[list[str | Path]] = [['val', 'testA', 'testB', *show], ['val', '--swap-expressions']]
    for file, more in zip(files, splits, strict=True):
        command = [*score, '--work-dir', work_dir / 'test', '--metrics-out', file, '--split', *more]
        run_stage('scores', command, file.with_suffix('.log'))

    heading(f'done in {(time.monotonic() - began) / 60:.1f} minutes')
    print('    a smoke run: a network trained on so little cannot score\n' if args.plan == 'smoke' else '', flush=True)
    subprocess.run([sys.executable, ROOT / 'tools/analysis_tools/score_table.py', *files], check=True)
    print(f'\ncheckpoint  {shown(checkpoint)}\nlog         {shown(work_dir / "train.log")}')
    print(f'images      {shown(work_dir / "images")}\ntry next    {next_command(data, checkpoint)}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    if args.parse_only:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        quickstart(args)
    except (StageError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
