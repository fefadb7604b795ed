"""Draw what a network sees in an image: attention to each word, masks of all decoder layers, guesses of masked words.

Example:
    python tools/analysis_tools/explain.py image.png --text "the red circle" --checkpoint work_dirs/tiny/epoch_3.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

GUESSES = 5  # words that are shown for each masked one


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Draw what a network sees in an image.')
    parser.add_argument('image', help='image file')
    parser.add_argument('--text', required=True, help='an expression')
    parser.add_argument('--checkpoint', required=True, help='weights, with their config inside as training saves them')
    parser.add_argument('--config', help='config file, instead of the one in the checkpoint; it is run')
    parser.add_argument('--mask', metavar='FILE', help='true mask, an image, not 0 = referred (default: the predicted)')
    parser.add_argument('--out-dir', type=Path, default=Path('outputs'), help='folder (default: outputs)')
    parser.add_argument('--format', choices=['png', 'pdf', 'svg'], default='png', help='of the figures (default: png)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    return parser.parse_args(argv)


def explain(args: argparse.Namespace) -> int:
    """Draw the figures that the network has parts for; returns the exit status."""
    from mmmagnet.apis import ReferringInferencer, read_image
    from mmmagnet.apis.explain import (
        decoder_predictions,
        masked_word_probabilities,
        pack_sample,
        tokens_of,
        word_attention,
    )
    from mmmagnet.datasets.transforms import TokenizeExpression
    from mmmagnet.datasets.transforms.check_expression import check_expression
    from mmmagnet.visualization.explanations import draw_guesses, draw_predictions, draw_word_attention

    pixels = read_image(args.image)
    checkpoint = args.checkpoint if args.config else None
    inferencer = ReferringInferencer(args.config or args.checkpoint, checkpoint, args.device)
    step = next(step for step in inferencer.pipeline.transforms if isinstance(step, TokenizeExpression))
    check_expression(args.text, step, '--text')
    sample = pack_sample(inferencer.pipeline, pixels, args.text, read_mask(args.mask, pixels.shape[:2]))
    words, vocabulary = tokens_of(inferencer.pipeline, sample)
    image = sample['inputs'].numpy().transpose(1, 2, 0)[..., ::-1]
    if 'letterbox' not in sample['data_samples']:  # at the network's size, but of the image's shape and sharpness
        image = pixels
    figures: dict[str, Any] = {}

    attention = word_attention(inferencer.model, sample)
    if attention is None:
        print(f'no figure of attention: {type(inferencer.model.neck).__name__} has no attention of pixels to words')
    else:
        figures['attention'] = draw_word_attention(image, words, attention.cpu().numpy())

    predictions = decoder_predictions(inferencer.model, sample)
    if predictions is None:
        print(f'no figure of predictions: {type(inferencer.model.decode_head).__name__} predicts once')
    else:
        threshold = inferencer.model.decode_head.threshold
        figures['predictions'] = draw_predictions(image, predictions.cpu().numpy(), threshold)

    model = with_grounding(inferencer.model, args.checkpoint, args.config)
    guessed = None if model is None else masked_word_probabilities(model, sample)
    if guessed is None or not len(guessed[0]):
        print('no figure of guesses: the checkpoint has no trained MaskGroundingHead')
    else:
        probabilities, mask = guessed
        best = [zip(*row.topk(GUESSES), strict=True) for row in probabilities.cpu()]
        guesses = [[(vocabulary(int(word)), float(value)) for value, word in row] for row in best]
        figures['guesses'] = draw_guesses(image, mask.cpu().numpy(), words[1 : 1 + len(guesses)], guesses)

    args.out_dir.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        path = args.out_dir / f'{Path(args.image).stem}_{name}.{args.format}'
        figure.savefig(path, dpi=200)
        print(path)
    return 0


def read_mask(path: str | None, size: tuple[int, int]) -> Any:
    """The mask in a file, (H_0, W_0) bool; None without a file.

    Raises:
        DataError: If it cannot be read as an image, or is not of the image's size.
    """
    import numpy as np
    from PIL import Image

    from mmmagnet.utils.errors import DataError

    if path is None:
        return None
    try:
        with Image.open(path) as opened:
            mask = np.asarray(opened.convert('L')) > 0
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'--mask {path}: cannot be read as an image ({error})') from error
    if mask.shape != size:
        raise DataError(f'{path}: has {mask.shape[1]} x {mask.shape[0]} pixels, the image {size[1]} x {size[0]}')
    return mask


def with_grounding(model: Any, checkpoint: str, config: str | None) -> Any:
    """The network with its auxiliary heads; None if it or the checkpoint has none."""
    from mmengine.config import ConfigDict

    from mmmagnet.registry import MODELS
    from mmmagnet.utils.checkpoint import checkpoint_config, inference_model, load_checked, read_checkpoint
    from mmmagnet.utils.config import check_registered, load_config

    network = (checkpoint_config(checkpoint) if config is None else load_config(config)).model.to_dict()
    heads = network.get('auxiliary_head')
    weights = read_checkpoint(checkpoint)
    if not heads or not any(name.startswith('auxiliary_head.') for name in weights):
        return None
    network = {**inference_model(network), 'auxiliary_head': heads}
    if config is None:
        check_registered(network, MODELS, f'{checkpoint} (meta.cfg)')
    built = MODELS.build(ConfigDict(network))
    load_checked(built, weights, checkpoint)
    return built.to(next(model.parameters()).device).eval()


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: explain(args))


if __name__ == '__main__':
    sys.exit(main())
