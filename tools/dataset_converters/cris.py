"""Prepare a set from CRIS's annotations and mask images, which ETRIS and DETRIS use, too.

ROOT is the folder that holds anns/ and masks/.

Example:
    python tools/dataset_converters/cris.py datasets --dataset refcoco --images train2014 --out data/refcoco_unc
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
    parser = converter_parser("CRIS's annotations and mask images")
    parser.add_argument('root', type=Path, metavar='ROOT', help='folder that holds anns/ and masks/')
    parser.add_argument('--dataset', required=True, help='refcoco, refcoco+, refcocog_u ...')
    args = parser.parse_args(argv)

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.cris import convert_cris

        return convert_cris(args.root, args.dataset, args.out, args.images, args.overwrite)

    return run_converter(convert, args.out)


if __name__ == '__main__':
    sys.exit(main())
