"""Generate a synthetic referring set: no download, no hub, minutes at most.

Example:
    python tools/dataset_converters/synthetic.py --level easy --out data/synthetic_easy
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from mmmagnet.datasets.synthetic import LEVELS, SPLITS, default_set, generate_set


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Generate a synthetic referring set (images, masks, expressions).')
    parser.add_argument('--level', choices=list(LEVELS), default='easy', help='difficulty (default: easy)')
    parser.add_argument('--out', type=Path, help='folder to write (default: data/synthetic_<level>)')
    parser.add_argument('--seed', type=int, default=0, help='seed of all images (default: 0)')
    sizes = ', '.join(f'{level.size} for {level.name}' for level in LEVELS.values())
    parser.add_argument('--size', type=int, help=f'side of the images in pixels (default: {sizes})')
    for split in SPLITS:
        usual = default_set('easy').counts[split]
        parser.add_argument(f'--{split}', type=int, default=usual, metavar='N', help=f'images (default: {usual})')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes (default: all cores)')
    parser.add_argument('--overwrite', action='store_true', help='replace another dataset in the folder')
    return parser.parse_args(argv)


def show_progress(done: int, total: int) -> None:
    """Print how many images are done, ten times in all."""
    if 10 * done // total > 10 * (done - 1) // total:
        print(f'{done}/{total} images', flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    out = args.out or Path('data') / f'synthetic_{args.level}'
    start = time.perf_counter()
    try:
        counts = {split: getattr(args, split) for split in SPLITS}
        wanted = default_set(args.level, seed=args.seed, size=args.size, counts=counts)
        written = generate_set(wanted, out, args.workers, args.overwrite, show_progress)
    except (ValueError, OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'\ninterrupted: nothing was left at {out}', file=sys.stderr)
        return 130
    if not written:
        print(f'{out} already holds this set: nothing to do')
        return 0
    seconds = time.perf_counter() - start
    images = sum(wanted.counts.values())
    print(f'wrote {images} images to {out} in {seconds:.1f} s: {images / seconds:.0f} images per second')
    return 0


if __name__ == '__main__':
    sys.exit(main())
