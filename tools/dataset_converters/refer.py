"""Prepare RefCOCO, RefCOCO+, RefCOCOg or another set in REFER's layout.

ROOT is the folder that holds refcoco/, refcoco+/, refcocog/ and, where they are downloaded, the images.

Example:
    python tools/dataset_converters/refer.py refer/data --dataset refcoco --split-by unc --out data/refcoco_unc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Prepare a set in REFER's layout: refs.jsonl, instances.json, images.")
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder that holds <dataset>/refs(<split-by>).p')
    parser.add_argument('--dataset', required=True, help='refcoco, refcoco+, refcocog ...')
    parser.add_argument('--split-by', required=True, help='unc, google, umd ...')
    parser.add_argument('--out', type=Path, help='folder to write (default: data/<dataset>_<split-by>)')
    parser.add_argument(
        '--images', type=Path, help='folder of the images (default: ROOT/images/mscoco/images/train2014)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared set in the folder')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> int:
    """Convert, and print what was written; returns the exit status."""
    from mmmagnet.datasets.converters.refer import convert_refer
    from mmmagnet.utils.cli import print_conversion

    out = args.out or Path('data') / f'{args.dataset}_{args.split_by}'
    print_conversion(convert_refer(args.root, args.dataset, args.split_by, out, args.images, args.overwrite), out)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
