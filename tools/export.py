"""Export a network to ONNX or to a `torch.export` program, and compare the file with PyTorch.

Example:
    python tools/export.py configs/magnet_tiny_synthetic.py work_dirs/tiny/epoch_3.pth --format onnx --out tiny.onnx
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BOUND = 1e-3  # largest error of a file in fp32, as a fraction of the largest value
LEAST_IOU = 0.95  # of the masks of a file of fewer bits with those in fp32
CASES = ((2, None), (1, 5), (3, 9))  # B and L of the comparison; the first is traced, at the full length


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Export a network, and compare the file with PyTorch.')
    parser.add_argument('config', help='config file; it is run, so it must be trusted')
    parser.add_argument('checkpoint', help='weights of the model that the config describes')
    parser.add_argument('--format', choices=['onnx', 'torch'], required=True, help='ONNX, or a torch.export program')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    parser.add_argument(
        '--precision',
        choices=['fp32', 'fp16', 'int8'],
        default='fp32',
        help='of an ONNX file: fp16 for GPUs, int8 (dynamic, matrix products alone) for CPUs (default: fp32)',
    )
    parser.add_argument('--image', metavar='FILE', help='compare on this image, too')
    parser.add_argument('--text', action='append', default=[], help='its expression; may be given several times')
    args = parser.parse_args(argv)
    if args.precision != 'fp32' and (args.format != 'onnx' or args.image is None):
        parser.error(f'--precision {args.precision} is for ONNX, and needs --image and --text: does it keep the mask?')
    if (args.image is None) != (not args.text):
        parser.error('--image and --text go together')
    return args


def export(args: argparse.Namespace) -> int:
    """Write, compare and time; returns the exit status."""
    from mmmagnet.apis import ReferringInferencer
    from mmmagnet.apis import export as exporting

    inferencer = ReferringInferencer(args.config, args.checkpoint, 'cpu')
    model = inferencer.model
    network = exporting.ExportableSegmentor(model).eval()
    packed = [pack(inferencer, pixels, text) for pixels, text in images_of(args)]
    size, letterbox = image_size(inferencer)
    facts = exporting.runner_facts(model, inferencer.pipeline.transforms)
    facts.update(size=[size[1], size[0]], letterbox=letterbox)

    cases = []
    for batch, words in CASES:
        length = min(words or facts['max_words'], facts['max_words'])
        cases.append(exporting.example_inputs(size, batch, length, model.text_encoder.vocab_size))
    program = exporting.trace(network, cases[0])
    eager = exporting.run_eager(network)
    outputs = ['logits', 'target_score'][: len(eager(cases[1]))]

    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out.parent, prefix=f'.{args.out.name}.') as folder:
        if args.format == 'torch':
            path = Path(folder) / 'network.pt2'
            exporting.save_program(program, path, facts)
            run = exporting.run_program(path)
        else:
            path = Path(folder) / 'network.onnx'
            exporting.save_onnx(program, path, facts, outputs)
            run = exporting.run_onnx(path)
        check_error(eager, run, [*cases, *packed])
        full = run
        if args.precision != 'fp32':
            reduced = Path(folder) / 'reduced.onnx'
            exporting.reduce_precision(path, reduced, args.precision)
            path, run = reduced, exporting.run_onnx(reduced)
            check_masks(full, run, packed, facts['threshold'], args.precision)
        one = packed[0] if packed else cases[1]
        times = {'PyTorch': seconds(eager, one), args.format: seconds(full, one)}
        if run is not full:
            times[args.precision] = seconds(run, one)
        megabytes = path.stat().st_size / 1e6
        path.replace(args.out)
    shown = ', '.join(f'{name} {1000 * value:.0f} ms' for name, value in times.items())
    print(f'one image and expression on the CPU: {shown}')
    print(f'{args.out}: {megabytes:.1f} MB, images of {size[0]} x {size[1]}, outputs {", ".join(outputs)}')
    return 0


def images_of(args: argparse.Namespace) -> list[tuple[Any, str]]:
    """The image of the command line with each of its expressions."""
    from mmmagnet.apis import read_image

    return [(read_image(args.image), text) for text in args.text]


def pack(inferencer: Any, pixels: Any, text: str) -> dict[str, Any]:
    """An RGB image and an expression as the exported network takes them."""
    from mmmagnet.apis.explain import pack_sample

    item = pack_sample(inferencer.pipeline, pixels, text)
    sample = item['data_samples']
    image = item['inputs'].flip(0)[None]
    return {'image': image, 'input_ids': sample.input_ids[None], 'word_mask': sample.word_mask[None]}


def image_size(inferencer: Any) -> tuple[tuple[int, int], bool]:
    """H and W that the pipeline gives to every image, and whether it letterboxes.

    Raises:
        ConfigError: If the size depends on the image.
    """
    import numpy as np

    from mmmagnet.apis.explain import pack_sample
    from mmmagnet.utils.errors import ConfigError

    items = [pack_sample(inferencer.pipeline, np.zeros((*size, 3), np.uint8), 'x') for size in ((50, 70), (60, 40))]
    sizes = [tuple(item['inputs'].shape[1:]) for item in items]
    if sizes[0] != sizes[1]:
        raise ConfigError('the test pipeline gives images of several sizes; set keep_ratio=False in its Resize')
    return sizes[0], 'letterbox' in items[0]['data_samples']


def check_error(eager: Any, run: Any, cases: list[dict[str, Any]]) -> None:
    """Print how far the file is from PyTorch.

    Raises:
        ConfigError: If that is too far.
    """
    from mmmagnet.apis.export import largest_error
    from mmmagnet.utils.errors import ConfigError

    errors = [largest_error(eager(case), run(case)) for case in cases]
    shown = ', '.join(f'{len(case["image"])} x {case["input_ids"].shape[1]}' for case in cases)
    worst = max(errors, key=lambda error: math.inf if math.isnan(error) else error)
    print(f'largest error {worst:.1e} of the largest value, images x words: {shown}')
    if not worst <= BOUND:
        raise ConfigError(f'the exported network differs from PyTorch by {worst:.1e}, more than {BOUND:.0e}; not kept')


def check_masks(full: Any, run: Any, cases: list[dict[str, Any]], threshold: float, precision: str) -> None:
    """Print how well the masks of fewer bits agree with those in fp32.

    Raises:
        ConfigError: If they do not agree well enough.
    """
    from mmmagnet.utils.errors import ConfigError
    from mmmagnet.visualization import mask_iou

    found = [[runner(case)[0] > threshold for runner in (full, run)] for case in cases]
    ious = [mask_iou(*masks) if masks[0].any() or masks[1].any() else 1.0 for masks in found]
    print(f'IoU of the masks in {precision} with those in fp32: {", ".join(f"{iou:.4f}" for iou in ious)}')
    if min(ious) < LEAST_IOU:
        raise ConfigError(f'--precision {precision} does not keep the mask: IoU {min(ious):.4f} < {LEAST_IOU}')


def seconds(run: Any, inputs: dict[str, Any], rounds: int = 5) -> float:
    """Median time of a prediction, after the first."""
    run(inputs)
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: export(args))


if __name__ == '__main__':
    sys.exit(main())
