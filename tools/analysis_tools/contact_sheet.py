"""Draw scored pairs of a split on one image: expression, ground truth and prediction, from what test.py --out wrote.

The pairs are spread evenly over the split, whatever their score: failures are among them as often as they come.

Example:
    python tools/test.py configs/magnet_tiny_quickstart.py work_dirs/quickstart/epoch_1.pth --out outputs/val.jsonl
    python tools/analysis_tools/contact_sheet.py outputs/val.jsonl --data-root data/synthetic_easy --out outputs/val.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Draw scored pairs of a split, spread evenly over it, on one image.')
    parser.add_argument('pairs', type=Path, help='file of tools/test.py --out')
    parser.add_argument('--data-root', type=Path, required=True, help='prepared dataset folder that was scored')
    parser.add_argument('--out', type=Path, required=True, help='PNG file to write')
    parser.add_argument('--number', type=int, default=8, metavar='N', help='pairs (default: 8)')
    args = parser.parse_args(argv)
    if args.number < 1:
        parser.error('--number is a number from 1')
    return args


def read_pairs(path: Path, number: int) -> list[dict[str, Any]]:
    """The pairs to draw: spread evenly over the file, each once.

    Raises:
        DataError: If the file holds no pairs of one split.
    """
    from mmmagnet.utils.errors import DataError

    with path.open(encoding='utf-8') as lines:
        try:
            pairs = [json.loads(line) for line in lines]
            first = [pair for pair in pairs if pair['resolution'] == pairs[0]['resolution']]
            splits = {pair['split'] for pair in first}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f'{path}: not pairs of tools/test.py --out ({error!r}); write it again') from error
    if len(splits) != 1:
        raise DataError(f'{path}: holds pairs of {len(splits)} splits; give the file of one split')
    number = min(number, len(first))
    return [first[count * len(first) // number] for count in range(number)]


def draw(args: argparse.Namespace) -> int:
    """Draw the pairs; returns the exit status."""
    from mmengine.registry import init_default_scope
    from PIL import Image
    from pycocotools import mask as coco_mask

    import mmmagnet.datasets  # noqa: F401
    from mmmagnet.registry import DATASETS
    from mmmagnet.utils.errors import DataError
    from mmmagnet.visualization import contact_sheet, draw_panels

    init_default_scope('mmseg')
    pairs = read_pairs(args.pairs, args.number)
    load = {'type': 'LoadImageFromFile', 'color_type': 'color_ignore_orientation', 'imdecode_backend': 'pillow'}
    dataset = DATASETS.build(
        {
            'type': 'RefCOCODataset',
            'data_root': str(args.data_root),
            'split': pairs[0]['split'],
            'test_mode': True,
            'pipeline': [load, {'type': 'LoadReferringMask', 'allow_empty': True}, {'type': 'SampleExpression'}],
        }
    )
    panels = []
    for pair in pairs:
        item = dataset[pair['sample_idx']] if pair['sample_idx'] < len(dataset) else {}
        if (item.get('ref_id'), Path(item.get('img_path', '')).name) != (pair['ref_id'], Path(pair['image']).name):
            raise DataError(
                f'{args.pairs}: ref {pair["ref_id"]} is not that of {args.data_root}; give the scored folder'
            )
        truth = item['gt_seg_map'] == 1
        mask = coco_mask.decode(pair['mask'])
        text = pair.get('expression', item['expression'])
        panels.append(draw_panels(item['img'][..., ::-1], text, truth, mask, with_image=False))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(panels, width=1400)).save(args.out, optimize=True)
    print(f'{len(panels)} pairs of {pairs[0]["split"]} on {args.out}')
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: draw(args))


if __name__ == '__main__':
    sys.exit(main())
