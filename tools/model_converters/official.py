"""Turn a checkpoint that the authors of MagNet or LAVT released into one of ours, or prove that both compute the same.

Example:
    python tools/model_converters/official.py magnet_refcoco.pth work_dirs/official.pth
    python tools/test.py configs/magnet_swin_b_official.py work_dirs/official.pth --split val
    python tools/model_converters/official.py --check tests/data/official_parity
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
PUBLISHED = {'magnet': 'magnet_swin_b_official.py', 'lavt': 'lavt_swin_b.py'}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Convert a released checkpoint of MagNet or LAVT. Nothing in it is run.'
    )
    parser.add_argument('source', nargs='?', metavar='IN', help='released checkpoint')
    parser.add_argument('out', nargs='?', metavar='OUT', help='checkpoint to write, .pth')
    parser.add_argument(
        '--config', help=f'config stored in OUT (default: configs/{PUBLISHED["magnet"]} or configs/{PUBLISHED["lavt"]})'
    )
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
    import torch
    from mmengine.registry import init_default_scope

    from mmmagnet import model_converters as official
    from mmmagnet.evaluation.record import file_sha256
    from mmmagnet.utils.config import load_config
    from mmmagnet.utils.errors import ConfigError

    source, out = Path(args.source), Path(args.out)
    if out.exists() and source.exists() and out.samefile(source):
        raise FileExistsError(f'{out}: is IN itself, which would be lost: give another OUT')
    release = official.read_release(source)
    config = load_config(args.config or str(CONFIGS / PUBLISHED[release.kind]))
    if not {'backbone', 'text_encoder', 'neck', 'decode_head'} <= config.get('model', {}).keys():
        raise ConfigError(f'{args.config}: has no model of backbone, text_encoder, neck and decode_head')
    published = config.model.to_dict()
    sizes = official.architecture(release.entries, release.kind, source)
    model = official.model_config(published, sizes, release.kind, source)
    if release.settings.get('mha'):  # LAVT's option: heads of the word attention in each stage, a-b-c-d
        model['neck'] = {**model['neck'], 'num_heads': heads_of(release.settings['mha'], source)}
    config.model = model
    init_default_scope('mmseg')
    with torch.device('meta'):  # names and shapes suffice
        wanted = official.build(model, source).state_dict()
    entries = official.convert(release.entries, release.kind, wanted, source)
    unused = official.unused_entries(release.entries, release.kind, wanted)
    note = {
        'from': source.name,
        'sha256': file_sha256(source),
        'network': release.kind,
        'converter': 'mmmagnet tools/model_converters/official.py',
        'unused': unused,
    }
    write({'meta': {'cfg': config.pretty_text, 'official': note}, 'state_dict': entries}, out)
    print(f'{release.kind}: {len(entries)} entries written to {out}, {len(unused)} of {source} have no effect on masks')
    print(f'sizes: {", ".join(f"{name} {value}" for name, value in sizes.items())}')
    if differing := official.unlike(published, sizes, release.kind):
        print(
            f'warning: {source}: not the published sizes: {", ".join(differing)}. If it was trained at the published '
            'ones, layers are missing: get the file again',
            file=sys.stderr,
        )
    return 0


def heads_of(option: Any, source: Path) -> list[int]:
    """The numbers in LAVT's option ``mha``."""
    from mmmagnet.utils.errors import CheckpointError

    parts = str(option).split('-')
    if len(parts) != 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise CheckpointError(f'{source}: args.mha is {option!r}, expected four numbers of heads a-b-c-d')
    return [int(part) for part in parts]


def check(args: argparse.Namespace) -> int:
    """Compare our network with the released one on each case; returns the exit status."""
    from mmmagnet.model_converters import compare, load_cases
    from mmmagnet.utils.config import load_config

    failed = 0
    for case in load_cases(args.check, args.case):
        published = load_config(str(CONFIGS / PUBLISHED[case.kind])).model.to_dict()
        size = '{batch} x {height} x {width}, {tokens} tokens'.format(**case.settings)
        print(f'{case.name}: {case.kind}, {size}', flush=True)
        for array, error, scale, tolerance in (differences := compare(case, published)):
            part = error / scale if scale else error
            print(f'    {array:<16} max |error| {error:.2e} = {part:.1e} x max |expected|, at most {tolerance:g}')
        failed += sum(not difference.passed for difference in differences)
    print(f'{failed} arrays differ' if failed else 'all arrays agree')
    return 1 if failed else 0


def write(content: dict[str, Any], path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + '.partial')
    try:
        with partial.open('wb') as stream:
            torch.save(content, stream)
        partial.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's own of a disk that fills in the middle
        cause = error.strerror if isinstance(error, OSError) else error
        raise OSError(f'{path}: cannot be written, is the disk full? ({cause})') from error
    finally:
        partial.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: check(args) if args.check is not None else convert_file(args))


if __name__ == '__main__':
    sys.exit(main())
