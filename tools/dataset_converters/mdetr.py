"""Prepare a set from the JSON files that MDETR prepared, one a split.

Example:
    python tools/dataset_converters/mdetr.py finetune_refcoco_train.json finetune_refcoco_val.json \
        --images train2014 --out data/refcoco_unc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Prepare MDETR's JSON files: refs.jsonl, instances.json, images.")
    parser.add_argument(
        'files', nargs='+', metavar='[SPLIT=]FILE', help='a file of each split; its name ends in the split otherwise'
    )
    parser.add_argument('--images', type=Path, required=True, help="folder of the images (COCO's train2014)")
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared set in the folder')
    return parser.parse_args(argv)


def convert(args: argparse.Namespace) -> int:
    """Convert, and print what was written; returns the exit status."""
    from mmmagnet.datasets.converters.mdetr import convert_mdetr, split_of
    from mmmagnet.utils.cli import print_conversion
    from mmmagnet.utils.errors import DataError

    files: dict[str, Path] = {}
    for given in args.files:
        split, named, file = given.partition('=')
        path = Path(file)
        if not named or Path(given).is_file():
            path = Path(given)
            split = split_of(path)
        if split in files:
            raise DataError(f'{path}: a second file of the split {split}, after {files[split]}')
        files[split] = path
    print_conversion(convert_mdetr(files, args.out, args.images, args.overwrite), args.out)
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: convert(args))


if __name__ == '__main__':
    sys.exit(main())
