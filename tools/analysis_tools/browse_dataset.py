"""Draw the samples that a dataset and its pipeline give to the network.

Example:
    python tools/analysis_tools/browse_dataset.py configs/magnet_tiny_synthetic.py --number 12 --out outputs/browse
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Draw images, masks, expressions and tokens of epoch 0.')
    parser.add_argument('config', help='config file; it is run, so it must be trusted')
    parser.add_argument('--split', default='train', help='split; train goes through the training pipeline (default)')
    parser.add_argument(
        '--number', type=int, default=12, metavar='N', help='samples, spread over the split (default: 12)'
    )
    parser.add_argument('--out', type=Path, default=Path('outputs/browse'), help='folder (default: outputs/browse)')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    args = parser.parse_args(argv)
    if args.number < 1:
        parser.error('--number is a number from 1')
    return args


def browse(args: argparse.Namespace) -> int:
    """Draw the samples and a contact sheet of them; returns the exit status."""
    from mmengine.registry import init_default_scope
    from PIL import Image

    from mmmagnet.registry import DATASETS
    from mmmagnet.utils.config import dataset_configs, load_config, parse_options
    from mmmagnet.utils.errors import ConfigError
    from mmmagnet.visualization import contact_sheet

    config = load_config(args.config, parse_options(args.cfg_options), args.data_root, training=args.split == 'train')
    init_default_scope(config.get('default_scope', 'mmseg'))
    name = 'train_dataloader' if args.split == 'train' else 'test_dataloader'
    loader = config.get(name)
    if loader is None:
        raise ConfigError(f'{args.config}: has no {name}')
    for part in dataset_configs(loader['dataset']):
        part['split'] = args.split
    dataset = DATASETS.build(loader['dataset'])
    args.out.mkdir(parents=True, exist_ok=True)
    number = min(args.number, len(dataset))
    images, tokenizer = [], tokenizer_of(dataset)
    for count in range(number):
        index = count * len(dataset) // number
        image = draw_item(dataset[index], tokenizer)
        path = args.out / f'{args.split}_{index:06d}.png'
        Image.fromarray(image).save(path)
        images.append(image)
    sheet = args.out / f'{args.split}_sheet.png'
    columns = round(math.sqrt(number * images[0].shape[0] / images[0].shape[1]))  # about as wide as high
    Image.fromarray(contact_sheet(images, max(1, columns))).save(sheet)
    print(f'{number} of {len(dataset)} samples of {args.split} in {args.out}, all on {sheet}')
    return 0


def draw_item(item: dict[str, Any], tokenizer: Any) -> Any:
    """Image of the network beside its mask, under expression and tokens: (h, w, 3) uint8, RGB."""
    from mmmagnet.visualization import draw_panels

    sample = item['data_samples']
    image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
    mask = sample.gt_sem_seg.data[0].numpy() if 'gt_sem_seg' in sample else None
    note = f'{image.shape[0]} x {image.shape[1]} pixels'
    if mask is not None:
        note += f', mask {mask.shape[0]} x {mask.shape[1]}'
    if tokenizer is not None and 'input_ids' in sample:
        words = sample.input_ids[sample.word_mask.bool()].tolist()
        note += f', {len(words)} tokens: {" ".join(tokenizer.convert_ids_to_tokens(words))}'
    return draw_panels(image, str(sample.get('expression', '')), gt_mask=mask, note=note)


def tokenizer_of(dataset: Any) -> Any:
    """Tokenizer in the pipeline of a dataset, or of the first one that it wraps; None if there is none."""
    from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer

    while inner := getattr(dataset, 'dataset', None) or getattr(dataset, 'datasets', [None])[0]:
        dataset = inner
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', [])
    name = next((step.tokenizer for step in transforms if isinstance(step, TokenizeExpression)), None)
    return load_tokenizer(name) if name is not None else None


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: browse(args))


if __name__ == '__main__':
    sys.exit(main())
