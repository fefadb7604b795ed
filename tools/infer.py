"""Segment what expressions refer to in images.

Example:
    python tools/infer.py image.png --text "the red circle" --checkpoint work_dirs/tiny/epoch_3.pth
    python tools/infer.py photo.jpg --text "the man in red" --model magnet_swin-b_refcoco
    python tools/infer.py photos/ more/*.jpg --text "the dog" --text "its ball" --checkpoint epoch_40.pth --out-dir out
    python tools/infer.py --list requests.csv --checkpoint epoch_40.pth --out-dir out

Exit status: 0 if every expression has a mask, 1 if some failed, 2 if it could not start, or stopped (--strict).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ListModels(argparse.Action):
    """Print the released models and end."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print them."""
        from mmmagnet.model_converters.model_zoo import list_models

        for model in list_models():
            state = 'here' if model.converted.is_file() else 'to download'
            print(f'{model.name:<32}{model.image_size:<12}{state:<14}{model.licence}')
        parser.exit()


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Segment what expressions refer to in images.',
        epilog='Exit status: 0 if every expression has a mask, 1 if some failed, 2 if it could not start, or stopped.',
    )
    parser.add_argument('images', nargs='*', metavar='IMAGE', help='image file, folder of images, or http(s) address')
    parser.add_argument('--text', action='append', help='an expression for each image; may be given several times')
    parser.add_argument('--list', metavar='FILE', help='CSV, JSON or JSON lines with the columns image and expression')
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument('--checkpoint', help='weights, with their config inside as training saves them')
    weights.add_argument('--model', metavar='NAME', help='released model, downloaded at its first use')
    parser.add_argument('--list-models', action=ListModels, nargs=0, help='print the names for --model, and end')
    parser.add_argument('--config', help='config file, instead of the one in the checkpoint; it is run')
    parser.add_argument(
        '--out-dir', default='outputs', help='folder of overlays, masks and results.json (default: outputs)'
    )
    parser.add_argument('--strict', action='store_true', help='stop at the first image or expression that fails')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    args = parser.parse_args(argv)
    if bool(args.list) == bool(args.images) or bool(args.images) != bool(args.text):
        parser.error('give IMAGE and --text, or --list FILE')
    if args.model and args.config:
        parser.error('--model has a config of its own; give --checkpoint with --config')
    return args


def infer(args: argparse.Namespace) -> int:
    """Segment, write and report; returns the exit status."""
    from tqdm import tqdm

    from mmmagnet.apis import ReferringInferencer, ResultFolder
    from mmmagnet.utils.cli import one_line
    from mmmagnet.utils.errors import ConfigError
    from mmmagnet.utils.images import SUFFIXES, image_files, is_folder

    out_dir = Path(args.out_dir)
    if not is_folder(out_dir) and (out_dir.exists() or out_dir.suffix.lower() in SUFFIXES):
        raise ConfigError(f'--out-dir {out_dir}: names a file; give a folder')
    if any(is_folder(name) and Path(name).resolve() == out_dir.resolve() for name in args.images):
        raise ConfigError(f'--out-dir {out_dir}: is a folder of images to segment; give another')
    if args.list:
        requests = list(read_list(Path(args.list)).items())
    else:
        files = [file for name in args.images for file in (image_files(name) if is_folder(name) else [name])]
        requests = [(str(file), args.text) for file in files]
    checkpoint = args.checkpoint if args.config else None
    inferencer = ReferringInferencer(args.config or args.model or args.checkpoint, checkpoint, args.device)
    failed: dict[str, None] = {}
    with ResultFolder(out_dir) as folder:
        answers = inferencer.stream(requests, show_progress=len(requests) > 1, raise_errors=args.strict)
        for (image, _), results in zip(requests, answers, strict=False):  # stops where it raises
            for result in results:
                if isinstance(result, Exception):
                    failed[one_line(result)] = None
                    continue
                overlay = folder.add(image, result)
                tqdm.write(f'{overlay}: {result.summary}, {json.dumps(result.expression, ensure_ascii=False)}')
    for message in failed:
        print(f'failed: {message}', file=sys.stderr)
    return 1 if failed else 0


def read_list(path: Path) -> dict[str, list[Any]]:
    """Image -> its expressions, of a CSV, JSON or JSON lines file. Paths of images are relative to the file.

    Raises:
        DataError: If the file is damaged, or a row has no image.
        OSError: If the file cannot be read.
    """
    from mmmagnet.utils.errors import DataError
    from mmmagnet.utils.images import is_address

    requests: dict[str, list[Any]] = {}
    try:
        for place, row in _rows(path):
            row = row if isinstance(row, dict) else {}
            image, expression = row.get('image'), row.get('expression')
            if None in row:  # as csv names what has no column
                raise DataError(f'{path}, {place}: has more fields than the first line; quote text with commas')
            if not isinstance(image, str) or not image or expression is None:
                raise DataError(f'{path}, {place}: lacks image or expression, the names in line 1 of a CSV')
            requests.setdefault(image if is_address(image) else str(path.parent / image), []).append(expression)
    except (csv.Error, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path}: not a whole list in UTF-8 ({error})') from error
    if not requests:
        raise DataError(f'{path}: is empty')
    return requests


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Place and content of each row."""
    with path.open(encoding='utf-8-sig', newline='') as file:
        if path.suffix.lower() in ('.json', '.jsonl', '.ndjson'):
            text = file.read()
            if text.lstrip().startswith('['):  # one array
                yield from ((f'entry {number}', row) for number, row in enumerate(json.loads(text), 1))
                return
            lines = enumerate(text.split('\n'), 1)
            yield from ((f'line {number}', json.loads(line)) for number, line in lines if line.strip())
        else:
            reader = csv.DictReader(file, strict=True)
            yield from ((f'line {reader.line_num}', row) for row in reader)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: infer(args))


if __name__ == '__main__':
    sys.exit(main())
