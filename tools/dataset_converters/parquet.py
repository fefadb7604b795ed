"""Prepare a set that a public mirror publishes as parquet files, a ref a row. Needs the extra [parquet].

Example:
    python tools/dataset_converters/parquet.py refcoco/data --images train2014 --out data/refcoco_unc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Prepare parquet files of refs: refs.jsonl, instances.json, images.')
    parser.add_argument('files', type=Path, nargs='+', metavar='FILE', help='parquet files, or folders of them')
    parser.add_argument('--images', type=Path, required=True, help="folder of the images (COCO's train2014)")
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared set in the folder')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> int:
    """Convert, and print what was written; returns the exit status."""
    from mmmagnet.datasets.converters.parquet import convert_parquet
    from mmmagnet.utils.cli import print_conversion

    print_conversion(convert_parquet(args.files, args.out, args.images, args.overwrite), args.out)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
