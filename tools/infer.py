"""Segment what expressions refer to in an image.

Example:
    python tools/infer.py image.png --text "the red circle" --checkpoint work_dirs/tiny/epoch_3.pth
    python tools/infer.py photo.jpg --text "the man in red" --model magnet_swin-b_refcoco
"""

from __future__ import annotations

import argparse
import sys
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
    parser = argparse.ArgumentParser(description='Segment what expressions refer to in an image.')
    parser.add_argument('image', help='image file')
    parser.add_argument('--text', action='append', required=True, help='an expression; may be given several times')
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument('--checkpoint', help='weights, with their config inside as training saves them')
    weights.add_argument('--model', metavar='NAME', help='released model, downloaded at its first use')
    parser.add_argument('--list-models', action=ListModels, nargs=0, help='print the names for --model, and end')
    parser.add_argument('--config', help='config file, instead of the one in the checkpoint; it is run')
    parser.add_argument('--out', default='outputs', help='folder of the overlays and masks (default: outputs)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    return parser.parse_args(argv)


def infer(args: argparse.Namespace) -> int:
    """Segment, write and report; returns the exit status."""
    from mmmagnet.apis import ReferringInferencer, read_image

    pixels = read_image(args.image)
    inferencer = ReferringInferencer(args.model or args.checkpoint, args.config, args.device)
    results = inferencer(pixels, args.text)
    written = inferencer.save(pixels, results, args.out, Path(args.image).stem)
    for result, (overlay, _) in zip(results, written, strict=True):
        print(f'{overlay}: {result.summary}, "{result.expression}"')
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: infer(args))


if __name__ == '__main__':
    sys.exit(main())
