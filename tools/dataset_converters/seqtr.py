"""Prepare a set from SeqTR's JSON file, which SimVG, C3VG and DeRIS use, too.

Example:
    python tools/dataset_converters/seqtr.py refcoco-unc/instances.json --images train2014 --out data/refcoco_unc
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
    parser = converter_parser("SeqTR's JSON file")
    parser.add_argument('file', type=Path, metavar='FILE', help='JSON file with all splits')
    args = parser.parse_args(argv)

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.seqtr import convert_seqtr

        return convert_seqtr(args.file, args.out, args.images, args.overwrite)

    return run_converter(convert, args.out)


if __name__ == '__main__':
    sys.exit(main())
