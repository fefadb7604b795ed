"""Flags and output that all converters share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmmagnet.datasets.converters.output import Conversion


def converter_parser(
    source: str, root_holds: str | None = None, images_default: str | None = None
) -> argparse.ArgumentParser:
    """A parser with ``--images``, ``--out`` and ``--overwrite``.

    Args:
        source: What is prepared, for the help.
        root_holds: Files in ROOT. Without it there is no ROOT, and ``--images`` and ``--out`` are required.
        images_default: What ``--images`` is by default, where there is no ROOT.
    """
    parser = argparse.ArgumentParser(description=f'Prepare {source}: refs.jsonl, instances.json, images.')
    images, out = "folder of the images (COCO's train2014)", 'folder to write'
    if root_holds:
        parser.add_argument('root', type=Path, metavar='ROOT', help=f'folder that holds {root_holds}')
        images = 'folder of the images (default: ROOT/images/mscoco/images/train2014)'
        out = 'folder to write (default: data/<dataset>_<split-by>)'
    elif images_default:
        images = f'folder of the images (default: {images_default})'
    parser.add_argument('--images', type=Path, required=not (root_holds or images_default), help=images)
    parser.add_argument('--out', type=Path, required=not root_holds, help=out)
    parser.add_argument('--overwrite', action='store_true', help='replace a prepared set in the folder')
    return parser


def run_converter(convert: Callable[[], Conversion], out: Path) -> int:
    """Convert, and print the counts of what was written; warnings go to stderr.

    Returns:
        The exit status: 2 after an error, which is one line on stderr.
    """
    from mmmagnet.utils.cli import run_command

    def command() -> int:
        conversion = convert()
        for warning in conversion.warnings:
            print(f'warning: {warning}', file=sys.stderr)
        print('\n'.join([*conversion.lines(), f'wrote {out}']))
        return 0

    return run_command(command)
