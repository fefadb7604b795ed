"""Prepare gRefCOCO, whose expressions mean several things, one, or nothing.

ROOT is the folder that holds grefcoco/ (grefs(unc).json, instances.json) and, where they are downloaded, the images.

Example:
    python tools/dataset_converters/grefcoco.py refer/data --out data/grefcoco_unc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Prepare gRefCOCO: refs.jsonl, instances.json, images.')
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder that holds grefcoco/grefs(<split-by>).json')
    parser.add_argument('--split-by', default='unc', help='default: unc')
    parser.add_argument('--out', type=Path, help='folder to write (default: data/grefcoco_<split-by>)')
    parser.add_argument(
        '--images', type=Path, help='folder of the images (default: ROOT/images/mscoco/images/train2014)'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared set in the folder')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> int:
    """Convert, and print what was written; returns the exit status."""
    from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
    from mmmagnet.utils.cli import print_conversion

    out = args.out or Path('data') / f'grefcoco_{args.split_by}'
    print_conversion(convert_grefcoco(args.root, args.split_by, out, args.images, args.overwrite), out)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
