"""Prepare a set that a public mirror publishes as parquet files, one row for each ref. Needs the extra [parquet].

Example:
    python tools/dataset_converters/parquet.py refcoco/data --images train2014 --out data/refcoco_unc
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
    parser = converter_parser('parquet files of refs')
    parser.add_argument('files', type=Path, nargs='+', metavar='FILE', help='parquet files, or folders of them')
    args = parser.parse_args(argv)

    def convert() -> Conversion:
        from mmmagnet.datasets.converters.parquet import convert_parquet

        return convert_parquet(args.files, args.out, args.images, args.overwrite)

    return run_converter(convert, args.out)


if __name__ == '__main__':
    sys.exit(main())
