"""Show what a trained Mask Grounding head uses: the image, the place of the mask, or only the other words.

Masked words of training batches are guessed three times: as they are, with the image of another sample, and with the
place of another sample's mask. If another image makes no difference, the words are guessed from the other words. The
gradients of Mask Grounding are compared with those of the other losses.

Example:
    python tools/analysis_tools/ablation/probe_grounding.py configs/magnet_tiny_synthetic.py \
        work_dirs/magnet_tiny_synthetic/epoch_3.pth
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from itertools import islice
from typing import Any

SHOWN = ('own', 'image of another', 'place of another')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Show what a trained Mask Grounding head uses.')
    parser.add_argument('config', help='config that the model was trained with; it is run, so it must be trusted')
    parser.add_argument('checkpoint', help='checkpoint of that training')
    parser.add_argument('--batches', type=int, default=40, metavar='N', help='batches of training data (default: 40)')
    parser.add_argument('--seed', type=int, default=0, help='seed of order, expressions and masked words (default: 0)')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--json', metavar='FILE', help='write the result')
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    args = parser.parse_args(argv)
    if args.batches < 1:
        parser.error(f'--batches is a number from 1, not {args.batches}')
    return args


def probe_grounding(model: Any, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Swap images, then places, between the samples of a batch, and compare gradients.

    The same words are masked each time. With the image of another sample both encoders run again, so that nothing of
    the sample's own image is left in the words that an alignment module has changed.

    Args:
        model: A segmentor whose auxiliary heads have a `MaskGroundingHead`. It is left in evaluation mode, without
            gradients.
        batches: Batches of a dataloader. One of a single sample is left out.

    Returns:
        Plain values: ``batches``, their number; ``loss``, the cross-entropy of the masked words without its weight, and
        ``accuracy``, the percentage of words guessed right, by what was shown (`SHOWN`); ``gradients``, for each part
        of the segmentor that both kinds of loss reach the norm of the mean gradient of the other losses (``rest``), of
        Mask Grounding with its weight (``grounding``), and the ``cosine`` between them.

    Raises:
        ConfigError: If the segmentor has no Mask Grounding, or no batch has two samples.
    """
    import torch
    from torch.nn.utils import parameters_to_vector

    from mmmagnet.models.aux_heads import MaskGroundingHead
    from mmmagnet.utils.errors import ConfigError

    heads = getattr(model, 'auxiliary_head', None)
    head = next((head for head in heads or () if isinstance(head, MaskGroundingHead)), None)
    if head is None:
        raise ConfigError(f'{type(model).__name__}: auxiliary_head has no MaskGroundingHead to probe')
    model.eval()  # no dropout, which would hide small differences
    found, weight, count = torch.zeros(len(SHOWN), 2), head.loss_weight, 0
    parts = {
        name: [weight for weight in part.parameters() if weight.requires_grad]
        for name, part in model.named_children()
        if part is not heads
    }
    parts = {name: weights for name, weights in parts.items() if weights}
    sums: dict[str, Any] = {name: {} for name in ('rest', 'grounding')}
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        inputs, samples = data['inputs'], data['data_samples']
        if len(inputs) < 2:
            continue
        state = torch.get_rng_state()

        def losses_of(images: Any, places: list, state: Any = state) -> dict[str, Any]:
            torch.set_rng_state(state)  # the same words are masked
            return model.loss(images, places)

        others = [sample.clone() for sample in samples]
        for sample, other in zip(others, [samples[-1], *samples[:-1]], strict=True):
            sample.gt_sem_seg = other.gt_sem_seg
        head.loss_weight = 1.0
        with torch.no_grad():
            for shown, given in enumerate(((inputs, samples), (inputs.roll(1, 0), samples), (inputs, others))):
                losses = losses_of(*given)
                found[shown] += torch.stack([losses['loss_grounding'], losses['acc_grounding']]).cpu()
        head.loss_weight = weight
        losses = losses_of(inputs, samples)
        grounding = losses.pop('loss_grounding')
        for kind, loss in (('rest', model.parse_losses(losses)[0]), ('grounding', grounding)):
            model.zero_grad()
            loss.backward(retain_graph=kind == 'rest')
            for name, weights in parts.items():
                gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
                sums[kind][name] = sums[kind].get(name, 0) + parameters_to_vector(gradients)
        count += 1
    model.zero_grad()
    if not count:
        raise ConfigError('train_dataloader: gave no batch of two samples or more, whose images could be swapped')
    compared = {}
    for name, rest, own in ((name, sums['rest'][name], sums['grounding'][name]) for name in parts):
        if rest.any() and own.any():
            cosine = torch.cosine_similarity(rest, own, dim=0).item()
            norms = {'rest': (rest.norm() / count).item(), 'grounding': (own.norm() / count).item()}
            compared[name] = {**norms, 'cosine': cosine}
    loss, accuracy = (dict(zip(SHOWN, values, strict=True)) for values in (found / count).T.tolist())
    return {'batches': count, 'loss': loss, 'accuracy': accuracy, 'gradients': compared}


def probe(args: argparse.Namespace) -> int:
    """Probe and print; returns the exit status."""
    import torch
    from mmengine.config import ConfigDict
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner, set_random_seed

    from mmmagnet.engine.checks import check_tokenizers
    from mmmagnet.registry import MODELS
    from mmmagnet.utils.checkpoint import inference_model, load_checked, read_checkpoint
    from mmmagnet.utils.cli import select_device
    from mmmagnet.utils.config import load_config, parse_options
    from mmmagnet.utils.io import write_json

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
    print(f'{args.checkpoint}, {found["batches"]} batches of {loader.batch_size}')
    print(f'{"shown":<20}{"loss":>10}{"guessed right":>16}')
    for name, loss in found['loss'].items():
        print(f'{name:<20}{loss:>10.3f}{found["accuracy"][name]:>14.1f} %')
    print(f'{"gradient in":<20}{"others":>10}{"Mask Grounding":>16}{"cosine":>10}')
    for name, part in found['gradients'].items():
        print(f'{name:<20}{part["rest"]:>10.2g}{part["grounding"]:>16.2g}{part["cosine"]:>10.2f}')
    if args.json:
        write_json(args.json, {'config': args.config, 'checkpoint': args.checkpoint, **found})
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
