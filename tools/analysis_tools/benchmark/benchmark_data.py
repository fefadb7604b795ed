"""Measure the cost of a prepared folder: verification, and training items per second; see also benchmark_index.py.

Example:
    python tools/analysis_tools/benchmark/full_size_set.py data/full_size
    python tools/analysis_tools/benchmark/benchmark_data.py data/full_size --photos data/template_template
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Measure verification and throughput of a set.')
    parser.add_argument('folder', type=Path, metavar='DIR', help='prepared folder')
    parser.add_argument('--config', default='configs/magnet_swin_b.py', help='whose training pipeline is measured')
    parser.add_argument('--photos', type=Path, help='prepared folder whose images the pipeline reads (default: DIR)')
    parser.add_argument('--tokenizer', help="instead of the config's")
    parser.add_argument('--items', type=int, default=300, metavar='N', help='items for the pipeline (default: 300)')
    args = parser.parse_args(argv)
    if args.items < 1:
        parser.error('--items is a number from 1')
    return args


def benchmark(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    import cv2
    import torch
    from mmengine.registry import init_default_scope

    from mmmagnet.datasets.verification.verify import verify_prepared
    from mmmagnet.registry import DATASETS
    from mmmagnet.utils.config import dataset_configs, load_config

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    config = load_config(args.config, data_root=args.photos or args.folder)
    init_default_scope(config.get('default_scope', 'mmseg'))
    settings = next(dataset_configs(config.train_dataloader.dataset))
    for step in settings['pipeline']:
        if args.tokenizer and step['type'] == 'TokenizeExpression':
            step['tokenizer'] = args.tokenizer

    seconds, report = timed(lambda: verify_prepared(args.folder, images=(args.folder / 'images').is_dir()))
    expressions = sum(count for _, count, _ in report.counts.values())
    print(f'verification of {expressions} expressions: {seconds:.1f} s, {len(report.of("error"))} kinds of errors')
    measure_pipeline(DATASETS.build(settings), args.items)
    return 0


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor time of a function, and its result."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure_pipeline(dataset: Any, items: int) -> None:
    """Print the items per second on one core, and the time of each transform."""
    dataset[0]  # reads the tokenizer
    with profiled(dataset) as spent:
        seconds, _ = timed(lambda: [dataset[item % len(dataset)] and None for item in range(items)])
    print(f'{items / seconds:.1f} items per second on one core, {1000 * seconds / items:.1f} ms each:')
    spent['around the transforms'] = seconds - sum(spent.values())
    for name, part in sorted(spent.items(), key=lambda item: -item[1]):
        print(f'    {name:<26}{1000 * part / items:>7.2f} ms{100 * part / seconds:>6.1f}%')


@contextmanager
def profiled(dataset: Any) -> Iterator[dict[str, float]]:
    """Processor time of each transform, in seconds, while the block runs."""
    spent: dict[str, float] = defaultdict(float)
    transforms = dataset.pipeline.transforms

    def measured(transform: Callable[[dict], dict]) -> Callable[[dict], dict]:
        def run(results: dict) -> dict:
            seconds, results = timed(lambda: transform(results))
            spent[type(transform).__name__] += seconds
            return results

        return run

    dataset.pipeline.transforms = [measured(transform) for transform in transforms]
    try:
        yield spent
    finally:
        dataset.pipeline.transforms = transforms


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: benchmark(args))


if __name__ == '__main__':
    sys.exit(main())
