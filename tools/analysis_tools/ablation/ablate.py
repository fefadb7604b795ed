"""Train a grid of configs with several seeds, each run in a process of its own, and compare them.

The same command resumes an interrupted grid: a finished run is not repeated, and an interrupted one continues.

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
    parser.add_argument('--out', type=Path, default=Path('work_dirs/ablation'), help='folder of runs, table and plot')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the configs'")
    parser.add_argument('--only', nargs='+', metavar='NAME', help='runs of the grid (default: all)')
    parser.add_argument('--seeds', type=int, nargs='+', help="seeds (default: 0 to the grid's number of them)")
    parser.add_argument('--jobs', type=int, default=1, help='runs at a time, each on a GPU of its own while they last')
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--report', action='store_true', help='only compare what is finished')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='NAME=VALUE', help='settings that replace those of the runs'
    )
    args = parser.parse_args(argv)
    if args.jobs < 1 or min(args.seeds or [0]) < 0:
        parser.error('--jobs is a number from 1, --seeds from 0')
    return args


def ablate(args: argparse.Namespace) -> int:
    """Run what is not finished, then compare; returns the exit status."""
    from grid import load_grid, run_grid
    from report import report

    from mmmagnet.utils.cli import end_on_sigterm
    from mmmagnet.utils.config import parse_options

    end_on_sigterm()
    grid, failed = load_grid(args.grid, args.only, args.seeds), 0
    if not args.report:
        failed = run_grid(grid, args.out, args.jobs, args.device, args.data_root, parse_options(args.cfg_options))
    print(report(grid, args.out))
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: ablate(args))


if __name__ == '__main__':
    sys.exit(main())
