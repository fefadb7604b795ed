"""Measure prediction or a training step of a config: time relative to matrix products, memory, parts.

Example:
    python tools/analysis_tools/benchmark/benchmark.py configs/magnet_swin_b.py --mode predict --json predict.json
    python tools/analysis_tools/benchmark/benchmark.py configs/magnet_swin_b.py --mode memory --batch 32
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Measure prediction or a training step of a config.')
    parser.add_argument('config', help='config file; it is run, so it must be trusted')
    parser.add_argument('--mode', choices=['predict', 'train', 'memory'], default='predict')
    parser.add_argument('--batch', type=int, default=1, metavar='B', help='images (default: 1)')
    parser.add_argument('--expressions', type=int, default=1, metavar='K', help='of each image (default: 1)')
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help="input (default: the config's)")
    parser.add_argument('--tokens', type=int, default=20, metavar='L', help='words, all real (default: 20)')
    parser.add_argument('--precision', choices=['fp32', 'bf16', 'fp16'], default='fp32')
    parser.add_argument('--repeat', type=int, default=10, metavar='N', help='repetitions (default: 10)')
    parser.add_argument('--threads', type=int, metavar='N', help="CPU threads (default: PyTorch's)")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--data-root', help="prepared dataset folder to measure `data` on (default: the config's)")
    parser.add_argument('--json', metavar='FILE', help='write the measurements')
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    args = parser.parse_args(argv)
    for name in ('batch', 'expressions', 'tokens', 'repeat', 'threads', 'size'):
        value = getattr(args, name)
        if value is not None and min(value if name == 'size' else [value]) < 1:
            parser.error(f'--{name} is a number from 1')
    return args


def measure(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    import torch
    from measurements import benchmark
    from mmengine.config import ConfigDict
    from mmengine.logging import MMLogger
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from training_memory import training_memory

    from mmmagnet.registry import MODELS
    from mmmagnet.utils.checkpoint import inference_model
    from mmmagnet.utils.cli import select_device
    from mmmagnet.utils.config import load_config, parse_options
    from mmmagnet.utils.errors import ConfigError, DataError
    from mmmagnet.utils.io import write_json

    select_device(args.device)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if args.mode == 'memory':
        device = 'cpu'
    elif args.precision == 'fp16' and device == 'cpu':
        raise ConfigError('--precision fp16: on a CPU its matrix products take minutes; use bf16')
    if args.threads:
        torch.set_num_threads(args.threads)
    config = load_config(args.config, parse_options(args.cfg_options), args.data_root)
    side = args.size or config.get('image_size', 480)
    size = (side, side) if isinstance(side, int) else tuple(side)
    training = args.mode != 'predict'
    init_default_scope('mmseg')
    torch.manual_seed(0)
    network = config.model.to_dict()
    if not training:
        compiled = {'compile': network['compile']} if 'compile' in network else {}
        network = {**inference_model(network), **compiled}
    model = MODELS.build(ConfigDict(network)).to(device)
    MMLogger.get_instance('benchmark', log_level='WARNING')  # no line for each weight
    room = getattr(getattr(model, 'text_encoder', None), 'max_tokens', None)
    if room is not None and args.tokens > room:
        raise ConfigError(f'--tokens {args.tokens}: the text encoder has room for {room}')

    def make_optimizer(model: Any) -> Any:  # --precision decides on autocast
        wrapper = {name: config.optim_wrapper.get(name) for name in ('optimizer', 'paramwise_cfg', 'constructor')}
        return build_optim_wrapper(
            model, {name: value for name, value in wrapper.items() if value is not None}
        ).optimizer

    if args.mode == 'memory':
        memory = training_memory(model, make_optimizer, args.batch, size, args.tokens, args.precision, args.expressions)
        print(f'{args.config}, a training step, {args.precision}')
        print(f'  input                {args.batch} x {size[0]} x {size[1]}, {args.tokens} tokens')
        print(f'  expressions          {args.expressions} of each image')
        print(f'  parameters           {memory.parameters / 1e6:.1f} M')
        print(f'  GFLOP                {memory.gflops:.1f}')
        print(f'  weights, gradients, optimizer  {memory.state_mb:.0f} MB')
        print(f'  activations          {memory.activation_mb:.0f} MB')
        if args.json:
            write_json(args.json, {'config': args.config, **memory.as_dict()})
        return 0
    optimizer = make_optimizer(model) if training else None
    load, lacking = None, 'the config names no dataset'
    if loader := config.get('train_dataloader' if training else 'test_dataloader'):
        try:
            load = batch_loader(loader.dataset, args.batch)
        except (DataError, OSError) as error:
            if args.data_root:
                raise
            lacking = str(error)
    result = benchmark(
        model, optimizer, args.batch, size, args.tokens, args.precision, device, args.repeat, load, args.expressions
    )
    print(f'{args.config}, {args.mode}, {args.precision} on {device}')
    print(f'  input                {args.batch} x {size[0]} x {size[1]}, {args.tokens} tokens')
    print(f'  expressions          {args.expressions} of each image')
    print(f'  seconds              {result.seconds:.3f} (median of {result.repetitions})')
    print(f'  images a second      {result.batch / result.seconds:.2f}')
    print(f'  GFLOP                {result.gflops:.1f}')
    print(f'  matrix product       {result.matmul_gflops_per_s:.1f} GFLOP/s')
    print(f'  ratio to its limit   {result.ratio_to_limit:.2f}')
    print(f'  peak memory          {result.peak_memory_mb:.0f} MB')
    if result.activation_mb is not None:
        print(f'  activations          {result.activation_mb:.0f} MB')
    if result.auxiliary_share is not None:
        print(f'  auxiliary heads      {100 * result.auxiliary_share:.1f} % of the step')
    for name, seconds in result.parts.items():
        print(f'  {name:<30} {seconds:.3f} s  {100 * seconds / result.parts["all"]:5.1f} %')
    if load is None:
        print(f'  data was not measured: {lacking}')
    if args.json:
        write_json(args.json, {'config': args.config, **result.as_dict()})
    return 0


def batch_loader(settings: dict[str, Any], batch: int) -> Callable[[], None]:
    """Function that prepares the next items of a dataset, as a worker does. It is called once here.

    Raises:
        DataError: If the set, its tokenizer or an image cannot be read.
    """
    from mmmagnet.registry import DATASETS

    dataset = DATASETS.build(settings)
    items = cycle(range(len(dataset)))

    def load() -> None:
        for _ in range(batch):
            dataset[next(items)]

    load()
    return load


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # spinning threads stall each other on a busy machine
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: measure(args))


if __name__ == '__main__':
    sys.exit(main())
