"""Score a checkpoint on one or several splits.

Example:
    python tools/test.py configs/magnet_tiny_synthetic.py work_dirs/tiny/epoch_3.pth --split val testA testB
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Score a checkpoint on one or several splits.')
    parser.add_argument('config', help='config file; it is run, so it must be trusted')
    parser.add_argument('checkpoint', help='weights of the model that the config describes')
    parser.add_argument('--split', nargs='+', metavar='NAME', help="splits to score (default: the config's)")
    parser.add_argument(
        '--resolution',
        choices=['input', 'original', 'both'],
        help="size at which masks are compared (default: the config's; published numbers are of input)",
    )
    parser.add_argument(
        '--breakdown',
        action='store_true',
        help='score groups of pairs, too: by length, position words, distractors of the same class, family',
    )
    parser.add_argument(
        '--swap-expressions',
        action='store_true',
        help='give each object the expression of another: a model that reads its text scores far lower',
    )
    parser.add_argument('--out', metavar='FILE', help='write each pair as a JSON line; of several splits, a file each')
    parser.add_argument('--metrics-out', metavar='FILE', help='write the scores as JSON, with all they depend on')
    parser.add_argument('--show-dir', metavar='DIR', help='draw expression, ground truth and prediction there')
    parser.add_argument('--show-limit', type=int, metavar='N', help='most images of a split (default: all)')
    parser.add_argument('--work-dir', help='folder of logs (default: work_dirs/<name of the config>/test)')
    parser.add_argument('--data-root', help="prepared dataset folder, instead of the config's")
    parser.add_argument('--cfg-options', nargs='+', metavar='NAME=VALUE', help="settings that replace the config's")
    parser.add_argument('--device', choices=['cpu', 'cuda'], help='default: a GPU if there is one')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')
    args = parser.parse_args(argv)
    if args.show_limit is not None and (args.show_limit < 1 or args.show_dir is None):
        parser.error('--show-limit is a number from 1 and goes with --show-dir')
    return args


def test(args: argparse.Namespace) -> int:
    """Score the splits one after another; returns the exit status."""
    from mmengine.dist import is_main_process
    from mmengine.runner import Runner

    from mmmagnet.engine.checks import check_scoring, check_types
    from mmmagnet.engine.distributed import closing_distributed, setup_distributed
    from mmmagnet.engine.hooks import ReferringVisualizationHook
    from mmmagnet.evaluation import ReferringSegMetric, describe_protocol, scoring_protocol
    from mmmagnet.evaluation.record import score_record
    from mmmagnet.utils.checkpoint import inference_model, load_weights
    from mmmagnet.utils.cli import end_on_sigterm, select_device
    from mmmagnet.utils.config import load_config, parse_options
    from mmmagnet.utils.io import file_sha256, write_json

    end_on_sigterm(at_once=True)
    select_device(args.device)
    config = load_config(args.config, parse_options(args.cfg_options), args.data_root, args.work_dir, training=False)
    config.launcher = args.launcher
    setup_distributed(config)
    check_types(config)
    check_scoring(config)
    if args.work_dir is None:  # MMEngine writes the config there, which a training must not lose
        config.work_dir = str(Path(config.work_dir) / 'test')
    config.load_from, config.resume = None, False
    config.model = inference_model(config.model.to_dict(), args.checkpoint)
    if args.show_dir is not None:
        config.visualizer = {'type': 'ReferringVisualizer', 'name': 'images'}
    changes = split_changes(config, args)
    config.update(next(iter(changes.values())))

    runner = Runner.from_cfg(config)
    loops = {split: build_loop(runner, parts) for split, parts in changes.items()}  # a wrong split ends it here
    model = getattr(runner.model, 'module', runner.model)
    load_weights(model, args.checkpoint)
    head = getattr(model, 'decode_head', None)  # somebody's own segmentor may have none
    protocol = scoring_protocol(config, getattr(head, 'threshold', None))
    if is_main_process():
        print(f'protocol: {describe_protocol(protocol)}', flush=True)
    sha256 = file_sha256(args.checkpoint)
    if args.show_dir is not None:
        runner.register_hook(ReferringVisualizationHook(args.show_limit, args.show_dir))
    scores: dict[str, Any] = {}
    with closing_distributed():
        for split in changes:
            runner._test_loop = loops.pop(split)
            metrics = runner.test()
            reports = [
                metric.report for metric in runner.test_evaluator.metrics if isinstance(metric, ReferringSegMetric)
            ]
            scores[split] = score_record(
                config=args.config,
                checkpoint=args.checkpoint,
                checkpoint_sha256=sha256,
                split=split,
                swap_expressions=args.swap_expressions,
                metrics=metrics,
                report=reports[0] if reports else {},
                protocol=protocol,
            )
            if is_main_process():
                print_scores(scores[split])
                if args.metrics_out is not None:  # after every split: an interrupted run keeps what it has
                    write_json(Path(args.metrics_out), scores)
    return 0


def split_changes(config: Any, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Split -> what it changes in the config: dataloader, evaluator and loop of the test."""
    from mmmagnet.utils.config import dataset_configs
    from mmmagnet.utils.errors import ConfigError

    loader = config.get('test_dataloader') or config.get('val_dataloader')
    evaluator = config.get('test_evaluator') or config.get('val_evaluator')
    if loader is None or evaluator is None:
        raise ConfigError(f'{args.config}: has no test_dataloader and test_evaluator')
    splits = args.split or [next(dataset_configs(loader['dataset'])).get('split', 'test')]
    changes = {}
    for split in dict.fromkeys(splits):
        parts = {
            'test_dataloader': loader,
            'test_evaluator': evaluator,
            'test_cfg': {'type': 'TestLoop', **(config.get('test_cfg') or {})},
        }
        parts = changes[split] = copy.deepcopy(parts)
        for dataset in dataset_configs(parts['test_dataloader']['dataset']):
            if args.split:
                dataset['split'] = split
            if args.swap_expressions:
                dataset['swap_expressions'] = True
        metrics = parts['test_evaluator']
        for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
            if str(metric['type']).rpartition('.')[2] != 'ReferringSegMetric':
                continue
            metric.setdefault('bootstrap', 1000)
            if args.resolution:
                metric['resolution'] = ['input', 'original'] if args.resolution == 'both' else args.resolution
            if args.breakdown:
                metric['breakdown'] = True
            if args.out:
                path = Path(args.out)
                path = path if len(splits) == 1 else path.with_name(f'{path.stem}_{split}{path.suffix}')
                metric['out_file'] = str(path)
    return changes


def build_loop(runner: Any, parts: dict[str, Any]) -> Any:
    """The test loop of a split, with its dataset."""
    loop = {'dataloader': parts['test_dataloader'], 'evaluator': parts['test_evaluator']}
    return runner.build_test_loop({**parts['test_cfg'], **loop})


def print_scores(entry: dict[str, Any]) -> None:
    """Print a split's scores as a line for each resolution."""
    swapped = ', swapped expressions' if entry['swap_expressions'] else ''
    scored = {resolution: account['scores'] for resolution, account in entry['resolutions'].items()}
    for resolution, scores in (scored or {'unknown': entry['metrics']}).items():
        numbers = '  '.join(
            f'{name} {value}' if name == 'pairs' else f'{name} {value:.2f}' for name, value in scores.items()
        )
        print(f'{entry["split"]} ({resolution} resolution{swapped}): {numbers}', flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')  # spinning threads stall each other on a busy machine
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before torch looks for GPUs
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: test(args))


if __name__ == '__main__':
    sys.exit(main())
