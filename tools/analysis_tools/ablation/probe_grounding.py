"""Tell what Mask Grounding goes by in a trained model, and how its gradients compare with those of the other losses.

Masked words of batches of the config's training set are guessed three times: as they are, with the image of another
sample, and with the place of another sample's mask. If another image makes no difference, the words are guessed from
the other words.

Example:
    python tools/analysis_tools/ablation/probe_grounding.py configs/magnet_tiny_synthetic.py \
        work_dirs/magnet_tiny_synthetic/epoch_3.pth
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import islice
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Tell what Mask Grounding goes by in a trained model.')
    parser.add_argument('config', help='config that the model was trained with; it is run, so it must be trusted')
    parser.add_argument('checkpoint', help='what it was trained to')
    parser.add_argument('--batches', type=int, default=40, metavar='N', help='of the training set (default: 40)')
    parser.add_argument('--seed', type=int, default=0, help='of order, expressions and masked words (default: 0)')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--json', metavar='FILE', help='write what was found')
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    args = parser.parse_args(argv)
    if args.batches < 1:
        parser.error(f'--batches is a number from 1, not {args.batches}')
    return args


def probe(args: argparse.Namespace) -> int:
    """Probe and print; returns the exit status."""
    import torch
    from grounding_probe import probe_grounding
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner, set_random_seed

    from mmmagnet.engine.checks import check_tokenizers
    from mmmagnet.evaluation.record import write_json
    from mmmagnet.registry import MODELS
    from mmmagnet.utils.checkpoint import inference_model, load_checked, read_checkpoint
    from mmmagnet.utils.cli import select_device
    from mmmagnet.utils.config import load_config, parse_options

    select_device(args.device)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    config = load_config(args.config, parse_options(args.cfg_options), args.data_root)
    init_default_scope('mmseg')
    set_random_seed(args.seed)
    network = config.model.to_dict()
    heads = {name: value for name, value in network.items() if name == 'auxiliary_head'}
    model = MODELS.build(ConfigDict({**inference_model(network), **heads}))
    load_checked(model, read_checkpoint(args.checkpoint), args.checkpoint)
    check_tokenizers(config, model)
    loader = Runner.build_dataloader(config.train_dataloader, seed=args.seed)
    loader.dataset.seed = args.seed  # EpochSamplerHook does so in a training
    found = probe_grounding(model.to(device), islice(loader, args.batches))
    print(f'{args.checkpoint}, {found.batches} batches of {loader.batch_size}')
    print(f'{"shown":<20}{"loss":>10}{"guessed right":>16}')
    for name, loss in found.loss.items():
        print(f'{name:<20}{loss:>10.3f}{found.accuracy[name]:>14.1f} %')
    print(f'{"gradient in":<20}{"others":>10}{"Mask Grounding":>16}{"cosine":>10}')
    for name, part in found.gradients.items():
        print(f'{name:<20}{part.rest:>10.2g}{part.grounding:>16.2g}{part.cosine:>10.2f}')
    if args.json:
        write_json(Path(args.json), {'config': args.config, 'checkpoint': args.checkpoint, **found.as_dict()})
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: probe(args))


if __name__ == '__main__':
    sys.exit(main())
