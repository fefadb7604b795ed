"""Train a model.

Example:
    python tools/train.py configs/magnet_tiny_synthetic.py --work-dir work_dirs/tiny
"""

from __future__ import annotations

import argparse
import os
import sys


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train a referring segmentation model.')
    parser.add_argument('config', help='config file; it is run, so it must be trusted')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint; without a name, from the latest in the work dir, or start if there is none',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='automatic mixed precision (needs a GPU; float16 unless the config has optim_wrapper.dtype)',
    )
    parser.add_argument(
        '--save',
        choices=['all', 'trainable'],
        default='all',
        help='what checkpoints hold; trainable leaves out frozen weights of the encoders, as their files have them',
    )
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--seed', type=int, help='seed of weights, order and expressions (randomness.seed)')
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')
    args = parser.parse_args(argv)
    if args.seed is not None and not 0 <= args.seed < 2**32:
        parser.error(f'--seed {args.seed}: give a number from 0 to {2**32 - 1}')
    return args


def train(args: argparse.Namespace) -> int:
    """Run a training; returns the exit status."""
    from mmengine.runner import Runner

    from mmmagnet.engine.checks import (
        check_amp,
        check_compile,
        check_monitored,
        check_schedule,
        check_scoring,
        check_tokenizers,
        check_types,
    )
    from mmmagnet.engine.distributed import closing_distributed, setup_distributed
    from mmmagnet.engine.hooks import StrictLoadHook
    from mmmagnet.engine.resume import set_resume
    from mmmagnet.utils.checkpoint import register_safe_loader
    from mmmagnet.utils.cli import end_on_sigterm, select_device
    from mmmagnet.utils.config import load_config, parse_options
    from mmmagnet.utils.errors import ConfigError

    end_on_sigterm(at_once=True)
    register_safe_loader()
    select_device(args.device)
    config = load_config(args.config, parse_options(args.cfg_options), args.data_root, args.work_dir)
    config.launcher = args.launcher
    if args.seed is not None:
        config.merge_from_dict({'randomness.seed': args.seed})
    if args.save == 'trainable':
        config.merge_from_dict({'default_hooks.checkpoint.trainable_only': True})
    if args.amp:
        if config.optim_wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ConfigError(f'--amp: optim_wrapper is a {config.optim_wrapper.type}; only an OptimWrapper can switch')
        wrapper = {'dtype': 'float16', 'loss_scale': 'dynamic', **config.optim_wrapper}
        config.optim_wrapper = {**wrapper, 'type': 'AmpOptimWrapper'}
    setup_distributed(config)
    check_types(config)
    check_compile(config)
    check_scoring(config)
    check_monitored(config)
    check_amp(config)
    if args.resume is not None:
        set_resume(config, None if args.resume == 'auto' else args.resume)
    elif config.get('resume'):
        set_resume(config, config.get('load_from'))

    runner = Runner.from_cfg(config)
    check_tokenizers(config, runner.model)
    check_schedule(config, runner.train_loop)
    if config.get('load_from'):
        runner.register_hook(StrictLoadHook(config.load_from, bool(config.get('resume'))))
    with closing_distributed():
        runner.train()
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # spinning threads stall each other on a busy machine
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: train(args))


if __name__ == '__main__':
    sys.exit(main())
