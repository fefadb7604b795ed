"""Show which differences between two models are significant, from the files that tools/test.py --out writes.

Example:
    python tools/analysis_tools/compare_scores.py lavt.jsonl magnet.jsonl --json difference.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Compare two models on the same pairs.')
    parser.add_argument('first', type=Path, metavar='A.jsonl', help='pairs of model A (tools/test.py --out)')
    parser.add_argument('second', type=Path, metavar='B.jsonl', help='the same pairs of model B')
    parser.add_argument(
        '--resamples', type=int, default=10000, metavar='N', help='resamples and permutations (default: 10000)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of both (default: 0)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='also write the comparison as JSON')
    args = parser.parse_args(argv)
    if args.resamples < 1 or args.seed < 0:
        parser.error('--resamples is a number from 1, --seed from 0')
    return args


def compare(args: argparse.Namespace) -> int:
    """Print the comparison; returns the exit status."""
    from mmmagnet.evaluation import compare_files
    from mmmagnet.utils.io import write_json

    comparisons = compare_files(args.first, args.second, args.resamples, args.seed)
    print(f'A = {args.first}, B = {args.second}; differences are B - A, intervals 95 %')
    for comparison in comparisons:
        print('\n'.join(comparison.lines()))
    if args.json is not None:
        content = {'first': str(args.first), 'second': str(args.second), 'resamples': args.resamples}
        write_json(args.json, {**content, 'comparisons': [comparison.as_dict() for comparison in comparisons]})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: compare(args))


if __name__ == '__main__':
    sys.exit(main())
