"""Prepare a set from the JSON files that MDETR prepared, one for each split.

The published files have boxes only: --instances is the file with the outlines, COCO's or REFER's.

Example:
    python tools/dataset_converters/mdetr.py finetune_refcoco_train.json finetune_refcoco_val.json \
        --instances refcoco/instances.json --images train2014 --out data/refcoco_unc
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _converter import converter_parser, run_converter

if TYPE_CHECKING:
    from mmmagnet.datasets.converters.output import Conversion


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = converter_parser("MDETR's JSON files")
    parser.add_argument(
        'files', nargs='+', metavar='[SPLIT=]FILE', help='one file for each split; its name ends in the split otherwise'
    )
    parser.add_argument('--instances', type=Path, metavar='FILE', help='instances.json of COCO or REFER, for outlines')
    args = parser.parse_args(argv)

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.mdetr import convert_mdetr, files_by_split

        return convert_mdetr(files_by_split(args.files), args.out, args.images, args.overwrite, args.instances)

    return run_converter(convert, args.out)


if __name__ == '__main__':
    sys.exit(main())
