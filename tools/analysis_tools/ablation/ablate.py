"""Train a grid of configs with several seeds, each run in a process of its own, and compare them.

A run that is finished is not run again, and one that was interrupted goes on, so the same command resumes the grid.

Example:
    python tools/analysis_tools/ablation/ablate.py configs/ablation/grid.py --data-root data/synthetic_easy --jobs 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a grid of configs with several seeds and compare them.')
    parser.add_argument('grid', help='file that names the runs; it is run, so it must be trusted')
    parser.add_argument('--out', default='work_dirs/ablation', help='folder of the runs, the table and the plot')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the configs'")
    parser.add_argument('--only', nargs='+', metavar='NAME', help='runs of the grid (default: all)')
    parser.add_argument('--seeds', type=int, nargs='+', help="seeds (default: 0 to the grid's number of them)")
    parser.add_argument(
        '--jobs', type=int, default=1, help='runs at a time, each on a GPU of its own where there are enough'
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--report', action='store_true', help='only compare what is finished')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='NAME=VALUE', help='settings that replace those of every run'
    )
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f'--jobs is a number from 1, not {args.jobs}')
    return args


def ablate(args: argparse.Namespace) -> int:
    """Run what is not finished, then compare; returns the exit status."""
    from grid import load_grid, report, run_grid

    from mmmagnet.utils.cli import end_on_sigterm

    end_on_sigterm()
    grid = load_grid(args.grid, args.only, args.seeds)
    out = Path(args.out)
    failed = 0
    if not args.report:
        failed = run_grid(grid, out, args.jobs, args.device, args.data_root, args.cfg_options)
    print(report(grid, out))
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: ablate(args))


if __name__ == '__main__':
    sys.exit(main())
