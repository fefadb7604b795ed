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
        help='go on from a checkpoint; without a name, from the latest in the work dir, or from the start if none is',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='automatic mixed precision (needs a GPU; float16 unless the config has optim_wrapper.dtype)',
    )
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--seed', type=int, help='seed of weights, order and expressions')
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> int:
    """Run a training; returns the exit status."""
    from mmmagnet.engine.hooks import StrictLoadHook
    from mmmagnet.engine.strategies import SHARDING, runner_class
    from mmmagnet.utils.checkpoint import register_safe_loader
    from mmmagnet.utils.cli import end_on_sigterm, join_processes, select_device
    from mmmagnet.utils.config import (
        check_amp,
        check_tokenizers,
        enable_amp,
        load_config,
        parse_options,
        set_resume,
        set_seed,
    )

    end_on_sigterm()
    register_safe_loader()
    select_device(args.device)
    config = load_config(args.config, parse_options(args.cfg_options), args.data_root, args.work_dir)
    config.launcher = args.launcher
    join_processes(config)
    if args.seed is not None:
        set_seed(config, args.seed)
    if args.amp:
        enable_amp(config)
    check_amp(config)
    if args.resume is not None:
        set_resume(config, None if args.resume == 'auto' else args.resume)
    elif config.get('resume'):
        set_resume(config, config.get('load_from'))
    runner = runner_class(config).from_cfg(config)
    check_tokenizers(config, runner.model)
    sharded = (
        config.get('runner_type') == 'FlexibleRunner' and (config.get('strategy') or {}).get('type') in SHARDING
    )  # no process has the whole model
    if not sharded and (config.get('resume') or config.get('load_from')):
        runner.register_hook(StrictLoadHook(config.load_from or config.work_dir, bool(config.get('resume'))))
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
