"""Prepare your own data: COCO JSON, a folder of LabelMe or X-AnyLabeling files, or a table.

A table (CSV or JSON lines) has the columns image, mask, expression and split; a mask is an image file, polygons or RLE.

Example:
    python tools/dataset_converters/custom.py photographs --out data/mine
    python tools/dataset_converters/custom.py mine.csv --images photographs --out data/mine
    python tools/dataset_converters/custom.py train=train.json val=val.json --field attributes.said \
        --images photographs --out data/mine
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _converter import converter_parser, run_converter

if TYPE_CHECKING:
    from mmmagnet.datasets.converters.output import Conversion


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = converter_parser('your own data', images_default='the folder of SOURCE')
    parser.add_argument(
        'sources', nargs='+', metavar='[SPLIT=]SOURCE', help='COCO .json, folder of LabelMe files, .csv or .jsonl'
    )
    parser.add_argument(
        '--field',
        help='where the words are: caption, expressions, description, label, attributes.NAME, or category '
        '(default: expressions, caption or description, whichever has words; expression in a table)',
    )
    parser.add_argument(
        '--val-share',
        type=float,
        default=0.2,
        metavar='X',
        help='share of the images that becomes val where no split is told (default: 0.2)',
    )
    args = parser.parse_args(argv)
    if not 0 <= args.val_share <= 1:
        parser.error('--val-share is a number from 0 to 1')

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.custom import convert_custom, sources_by_split

        sources = sources_by_split(args.sources)
        folders = [str(path.resolve() if path.is_dir() else path.resolve().parent) for _, path in sources]
        images = args.images or Path(os.path.commonpath(folders))
        return convert_custom(sources, args.out, images, args.overwrite, args.field, args.val_share)

    return run_converter(convert, args.out)


if __name__ == '__main__':
    sys.exit(main())
