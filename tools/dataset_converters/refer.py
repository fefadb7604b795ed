"""Prepare RefCOCO, RefCOCO+, RefCOCOg or another set in REFER's layout.

ROOT is the folder that holds refcoco/, refcoco+/, refcocog/ and, where they are downloaded, the images.

Example:
    python tools/dataset_converters/refer.py refer/data --dataset refcoco --split-by unc --out data/refcoco_unc
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
    parser = converter_parser("a set in REFER's layout", '<dataset>/refs(<split-by>).p')
    parser.add_argument('--dataset', required=True, help='refcoco, refcoco+, refcocog, refclef, rrsisd ...')
    parser.add_argument('--split-by', required=True, help='unc, google, umd, final ...')
    args = parser.parse_args(argv)
    out = args.out or Path('data') / f'{args.dataset}_{args.split_by}'

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.refer import convert_refer

        return convert_refer(args.root, args.dataset, args.split_by, out, args.images, args.overwrite)

    return run_converter(convert, out)


if __name__ == '__main__':
    sys.exit(main())
