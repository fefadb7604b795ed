"""Prepare gRefCOCO, whose expressions refer to several objects, one, or none.

ROOT is the folder that holds grefcoco/ (grefs(unc).json, instances.json) and, where they are downloaded, the images.

Example:
    python tools/dataset_converters/grefcoco.py refer/data --out data/grefcoco_unc
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
    parser = converter_parser('gRefCOCO', 'grefcoco/grefs(<split-by>).json')
    parser.add_argument('--split-by', default='unc', help='default: unc')
    args = parser.parse_args(argv)
    out = args.out or Path('data') / f'grefcoco_{args.split_by}'

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.grefcoco import convert_grefcoco

        return convert_grefcoco(args.root, args.split_by, out, args.images, args.overwrite)

    return run_converter(convert, out)


if __name__ == '__main__':
    sys.exit(main())
