"""Check on one GPU, within some minutes, what has run on CPUs only: results, memory, speed, waits, a training.

Example:
    python tools/analysis_tools/gpu_check.py --minutes 8 --out work_dirs/gpu_check
    python tools/analysis_tools/gpu_check.py --device cpu --small --out work_dirs/gpu_check
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent / 'benchmark'), str(Path(__file__).parents[2] / 'tests')]
RESULT = 'gpu_check.json', 'gpu_check.md'


class OutOfTime(BaseException):
    """The time of a step is over. No error, which a library could catch."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Check results, memory and speed on one GPU.')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help=f'folder of {" and ".join(RESULT)}')
    parser.add_argument('--minutes', type=float, default=8.0, help='time of all steps (default: 8)')
    parser.add_argument('--only', nargs='+', metavar='STEP', help='names of steps (default: all)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda')
    parser.add_argument('--small', action='store_true', help="the tests' small networks; needs pytest")
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error('--minutes is a positive number')
    return args


@contextmanager
def ends_after(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after some seconds, and again where Python had to ignore it."""

    def end(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_steps(
    steps: Sequence[Any], setting: Any, seconds: float, save: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Run steps one after another, each for at most twice its estimate.

    Args:
        steps: Steps (`gpu_steps.Step`), the most important first.
        setting: What they check (`gpu_steps.Setting`).
        seconds: Time of all steps.
        save: Function that writes the results; called after each step.

    Returns:
        For each step its ``name``, ``status`` (passed, failed, stopped, skipped), ``reason``, ``seconds`` and ``rows``.
    """
    from mmmagnet.utils.cli import one_line

    results: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    for step in steps:
        began = time.monotonic()
        left = deadline - began
        rows: list[dict[str, Any]] = []
        status, reason = 'passed', ''
        if step.needs_gpu and setting.device == 'cpu':
            status, reason = 'skipped', 'needs a GPU'
        elif left < step.seconds:
            status, reason = 'skipped', f'needs about {step.seconds:.0f} s; {max(left, 0):.0f} s were left'
        else:
            print(f'{step.name}: about {step.seconds:.0f} s', flush=True)
            try:
                with ends_after(min(left, 2 * step.seconds)):
                    for row in step.run(setting):
                        rows.append(row)
                        print(f'    {shown(row)}', flush=True)
            except OutOfTime:
                status, reason = 'stopped', 'took too long'
            except Exception as error:  # of any kind: the next step goes on
                status, reason = 'failed', f'{type(error).__name__}: {one_line(error)}'
            if failed := sum(row.get('passed') is False for row in rows):
                status, reason = 'failed', reason or f'{failed} of {len(rows)} rows'
        taken = time.monotonic() - began
        results.append({'name': step.name, 'status': status, 'reason': reason, 'seconds': taken, 'rows': rows})
        print(f'{step.name}: {status} {reason}', flush=True)
        save(results)
    return results


def cell(value: Any) -> str:
    """A value in a table; numbers have four digits."""
    return f'{value:.4g}' if isinstance(value, float) else str(value).replace('|', r'\|')


def shown(row: dict[str, Any]) -> str:
    """A row in one line."""
    return ', '.join(f'{name} {cell(value)}' for name, value in row.items())


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table of rows that may lack columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ['---'] * len(names), *([cell(row.get(name, '')) for name in names] for row in rows)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def page(environment: dict[str, str], results: list[dict[str, Any]]) -> str:
    """The results as Markdown."""
    summary = [{name: result[name] for name in ('name', 'status', 'reason', 'seconds')} for result in results]
    parts = ['# GPU check', table([environment]), table(summary)]
    for result in results:
        if result['rows']:
            parts += [f'## {result["name"].capitalize()}', table(result['rows'])]
    return '\n\n'.join(parts) + '\n'


def check(args: argparse.Namespace) -> int:
    """Run the steps and write the results; returns 1 if a step failed."""
    import torch
    from gpu_steps import STEPS, Setting

    from mmmagnet.utils.cli import select_device
    from mmmagnet.utils.errors import ConfigError
    from mmmagnet.utils.io import atomic_write, write_json

    names = [step.name for step in STEPS]
    if unknown := set(args.only or []) - set(names):
        raise ConfigError(f'--only: {", ".join(sorted(unknown))} is not among {", ".join(names)}')
    select_device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = {
        'device': torch.cuda.get_device_name() if args.device == 'cuda' else 'CPU',
        'networks': 'small, of the tests' if args.small else 'full size',
        'PyTorch': torch.__version__,
        'date': time.strftime('%Y-%m-%d'),
    }

    def save(results: list[dict[str, Any]]) -> None:
        write_json(out / RESULT[0], {'environment': environment, 'steps': results})
        with atomic_write(out / RESULT[1]) as file:
            file.write(page(environment, results))

    setting = Setting(args.device, args.small, out)
    steps = [step for step in STEPS if args.only is None or step.name in args.only]
    results = run_steps(steps, setting, 60 * args.minutes, save)
    print(f'wrote {out / RESULT[0]} and {out / RESULT[1]}')
    return int(any(result['status'] == 'failed' for result in results))


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # spinning threads stall each other on a busy machine
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: check(args))


if __name__ == '__main__':
    sys.exit(main())
