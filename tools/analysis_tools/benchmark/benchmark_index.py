"""Measure how a training set starts, and the memory of the process and of a forked worker.

Example:
    python tools/analysis_tools/benchmark/full_size_set.py data/full_size --copies 7
    python tools/analysis_tools/benchmark/benchmark_index.py data/full_size
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Measure start, item access and memory of a training set.')
    parser.add_argument('folder', type=Path, metavar='DIR', help='prepared folder; the second run has its index')
    parser.add_argument('--items', type=int, default=10_000, metavar='N', help='items that are read (default: 10000)')
    args = parser.parse_args(argv)
    if args.items < 1:
        parser.error('--items is a number from 1')
    return args


def benchmark(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    import numpy as np

    from mmmagnet.datasets import RefCOCODataset

    before, start = memory(), time.process_time()
    dataset = RefCOCODataset(str(args.folder), split='train')
    seconds = time.process_time() - start
    print(f'start with {len(dataset)} items: {seconds:.2f} s')
    now = memory()
    own, most = now['RssAnon'] - before['RssAnon'], now['VmHWM'] - before['VmRSS']
    print(f'process: {own:.0f} MB of its own more than before, {most:.0f} MB with mapped files at most')
    items = np.random.default_rng(0).integers(len(dataset), size=args.items).tolist()
    for name in ('first', 'second'):
        print(f'{name} reading of an item: {1e6 * read(dataset, items) / len(items):.0f} us')
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(dataset, items, sender))
    worker.start()
    own, mapped = receiver.recv()
    worker.join()
    print(f'worker: {own:.0f} MB that it shares with no other process, {mapped:.0f} MB of mapped files')
    return 0


def read(dataset: Any, items: list[int]) -> float:
    """Seconds of processor time for reading items, without their images."""
    start = time.process_time()
    for item in items:
        dataset.get_data_info(item)
    return time.process_time() - start


def _work(dataset: Any, items: list[int], sender: Connection) -> None:
    read(dataset, items)
    sender.send((memory('smaps_rollup')['Private_Dirty'], memory()['RssFile']))


def memory(file: str = 'status') -> dict[str, float]:
    """Memory of this process by kind, MB, as Linux counts it."""
    lines = [line.split() for line in Path('/proc/self', file).read_text().splitlines()]
    return {line[0][:-1]: int(line[1]) / 1000 for line in lines if line[2:] == ['kB']}


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: benchmark(args))


if __name__ == '__main__':
    sys.exit(main())
