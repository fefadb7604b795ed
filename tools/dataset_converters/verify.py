"""Look through a prepared folder before training on it or publishing scores of it.

Counts against the published ones, kinds of targets, ids, outlines, image files, expressions and the share of them that
is cut, images shared between splits. Exit status 0: no errors, 1: errors, 2: the folder cannot be read at all.

Example:
    python tools/dataset_converters/verify.py data/refcoco_unc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Look through a prepared folder; exit status 1 if there are errors.')
    parser.add_argument('folder', type=Path, metavar='DIR', help='prepared folder')
    parser.add_argument('--dataset', help="refcoco, refcoco+, refcocog ... (default: by the folder's name)")
    parser.add_argument('--split-by', help="unc, google, umd ... (default: by the folder's name)")
    parser.add_argument(
        '--images', action=argparse.BooleanOptionalAction, default=True, help='look at the image files (default: yes)'
    )
    parser.add_argument(
        '--tokenizer', help='name or folder, to count expressions that are cut (default: bert-base-uncased, if present)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the report there, too')
    args = parser.parse_args(argv)
    if (args.dataset is None) != (args.split_by is None):
        parser.error('--dataset and --split-by belong together')
    return args


def verify(args: argparse.Namespace) -> int:
    """Print the report; returns the exit status."""
    from mmmagnet.datasets.verification.verify import verify_prepared
    from mmmagnet.utils.io import write_json

    report = verify_prepared(args.folder, args.dataset, args.split_by, args.images, args.tokenizer)
    print('\n'.join(report.lines()))
    if args.json is not None:
        write_json(args.json, report.as_dict())
    return 1 if report.of('error') else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: verify(args))


if __name__ == '__main__':
    sys.exit(main())
