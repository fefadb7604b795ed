"""Convert a checkpoint that a method's authors released into one of ours, or prove that both networks compute the same.

Example:
    python tools/model_converters/official.py magnet_refcoco.pth work_dirs/official.pth
    python tools/test.py configs/magnet_swin_b_official.py work_dirs/official.pth --split val
    python tools/model_converters/official.py --check tests/data/official_parity
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Convert a released checkpoint. Nothing in it is run.')
    parser.add_argument('source', nargs='?', metavar='IN', help='released checkpoint')
    parser.add_argument('out', nargs='?', metavar='OUT', help='checkpoint to write, .pth')
    parser.add_argument('--config', help="config of its network, stored in OUT (default: the method's published one)")
    parser.add_argument('--check', metavar='DIR', help='run the parity cases of a folder instead')
    parser.add_argument('--case', nargs='+', metavar='NAME', help='with --check: only these cases')
    args = parser.parse_args(argv)
    if (args.check is None) == (args.source is None) or (args.source is not None and args.out is None):
        parser.error('give IN and OUT, or --check DIR')
    if args.out is not None and Path(args.out).suffix != '.pth':
        parser.error(f'OUT is a .pth file, not {args.out}')
    return args


def convert_file(args: argparse.Namespace) -> int:
    """Convert a file; returns the exit status."""
    from mmmagnet.model_converters import convert_release

    source, out = Path(args.source), Path(args.out)
    if out.exists() and source.exists() and out.samefile(source):
        raise FileExistsError(f'{out}: is IN itself, which would be lost: give another OUT')
    kind, written, unused = convert_release(source, out, args.config)
    print(f'{kind}: {written} entries written to {out}; {unused} of {source} have no effect on masks')
    return 0


def check(args: argparse.Namespace) -> int:
    """Compare our network with the released one on each case; returns the exit status."""
    from mmmagnet.model_converters import compare, load_cases
    from mmmagnet.utils.config import load_config
    from mmmagnet.utils.paths import package_root

    failed = 0
    for case in load_cases(args.check, args.case):
        published = load_config(package_root() / 'configs' / case.converter.config).model.to_dict()
        differences = compare(case, published)
        size = '{batch} x {height} x {width}, {tokens} tokens'.format(**case.settings)
        print(f'{case.name}: {case.converter.kind}, {size}', flush=True)
        for array, error, scale, tolerance in differences:
            part = error / scale if scale else error
            print(f'    {array:<16} max |error| {error:.2e} = {part:.1e} x max |expected|, at most {tolerance:g}')
        failed += sum(not difference.passed for difference in differences)
    print(f'{failed} arrays differ' if failed else 'all arrays agree')
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: check(args) if args.check is not None else convert_file(args))


if __name__ == '__main__':
    sys.exit(main())
