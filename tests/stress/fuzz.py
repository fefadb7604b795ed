"""Mutated files through every reader: refused with one line, or read; nothing run, nothing half-written.

A case follows from seed and number alone: ``--only`` repeats one with its traceback. With ``--state`` the same command
goes on where it was ended.

Example:
    python tests/stress/fuzz.py --count 100000 --seed 0 --state fuzz.json
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mutation import file_of, mutated
from sources import TOKENIZER, Source, all_sources, main_of, write_files
from stored import Reader, archive_reader, index_reader, prepared, read_arrays

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.evaluation.comparison import compare_files
from mmmagnet.model_converters.release import read_release
from mmmagnet.utils.checkpoint import checkpoint_config, read_checkpoint
from mmmagnet.utils.cli import USER_ERRORS, one_line
from mmmagnet.utils.errors import DataError
from mmmagnet.utils.io import write_json

SECONDS = 5  # of the processor; no case of this size has a reason to take longer
FORBIDDEN = ('pickle.find_class', 'os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen', 'socket.connect')
MESSAGE = 2000  # characters, at most
MEMORY = 2**32  # bytes that cases may take, more than the program
TRIED: list[str] = []  # events of FORBIDDEN


class RefusedError(Exception):
    """A command ended with an error of its input."""


def converter(source: Source) -> Reader:
    """The command of a source: it leaves nothing half-written, and what it writes can be read."""

    def read(folder: Path, out: Path) -> None:
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = main_of(source.tool)(source.command(folder, out))
        left = [path.name for path in out.parent.iterdir() if path != out]
        assert not left, f'left behind: {left[0].split("-")[0]}'
        if status:
            assert not out.exists(), 'refused, but there is an output'
            raise RefusedError(errors.getvalue().removeprefix('error: '))
        assert {'refs.jsonl', 'instances.json'} <= {path.name for path in out.iterdir()}, 'written in part'
        try:
            look(out)
        except DataError as error:
            raise AssertionError(f'converted, but cannot be read: {error}') from error

    return Reader(source.files, read)


def look(folder: Path, *_: Path) -> None:
    """Verify a prepared folder, and read it as a dataset."""
    report = verify_prepared(folder, images=False, tokenizer=TOKENIZER)
    json.dumps([report.as_dict(), '\n'.join(report.lines()).encode().decode()])
    for split in ('train', 'val'):
        for test_mode in (False, True):
            try:
                RefCOCODataset(data_root=str(folder), split=split, test_mode=test_mode)
            except DataError as error:
                if split in report.counts and not report.of('error'):
                    raise AssertionError(f'verified without an error, but no dataset: {error}') from None


def at(read: Callable[[Path], Any], name: str) -> Callable[[Path, Path], Any]:
    return lambda folder, _: read(folder / name)


@functools.lru_cache
def readers() -> dict[str, list[Reader]]:
    """Readers by name, each as often; those of one name are drawn. Parquet's take a process each."""
    found: dict[str, list[Reader]] = {}
    for name, source in all_sources().items():
        found.setdefault('parquet' if source.tool == 'parquet' else name, []).append(converter(source))
    mask = {'size': [6, 8], 'counts': '0`1'}
    areas = {'intersection': 3, 'union': 6, 'predicted': 4, 'no_target': False, 'mask': mask}
    pairs = [
        {'split': 'val', 'ref_id': k, 'sent_id': k, 'resolution': 'input', 'image': '1.jpg', **areas} for k in (0, 1)
    ]
    weights = {'dinov2.a': torch.ones(2, 3), 'b': torch.zeros(2, dtype=torch.int64)}
    meta = {'epoch': 1, 'iter': 3, 'seed': 0, 'cfg': "model = dict(type='A', width=[1, 2])\nsize = (4, 4)\n"}
    checkpoint = {'x.pth': {'meta': meta, 'state_dict': weights, 'optimizer': {'state': {'0': weights}}}}
    tensor = {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24]}
    header = {'__metadata__': {'a': 'b'}, 'a': tensor, 'b': {**tensor, 'data_offsets': [24, 48]}}
    return {
        **found,
        'prepared': [Reader(prepared(), look)],
        'index': [index_reader()],
        'arrays': [Reader({'instances.json': prepared()['instances.json']}, at(read_arrays, 'instances.json'))],
        'download': [archive_reader(name) for name in ('x.zip', 'x.tar')],
        'scores': [
            Reader({'a.jsonl': pairs, 'b.jsonl': pairs}, lambda f, _: compare_files(f / 'a.jsonl', f / 'b.jsonl', 2))
        ],
        'checkpoint': [Reader(checkpoint, at(read, 'x.pth')) for read in (read_checkpoint, checkpoint_config)]
        + [Reader({'x.pth': {'model': weights, 'args': {'lr': 1}}}, at(read_release, 'x.pth'))],
        'safetensors': [Reader({'x.safetensors': (header, bytes(48))}, at(read_checkpoint, 'x.safetensors'))],
    }


class TooSlowError(BaseException):
    """A case takes longer than it has a reason to."""


class Result(NamedTuple):
    """How a case ended: the name of its reader; ``read``, ``refused``, or what went wrong."""

    reader: str
    outcome: str
    failed: bool


def run_case(seed: int, number: int, scratch: Path, shown: bool = False) -> Result:
    """Run a case; its reader's files stay in the folder `scratch`. `shown` prints the traceback of a failure."""
    rng = random.Random(f'{seed} {number}')
    name = [*readers()][number % len(readers())]
    place = rng.randrange(len(readers()[name]))
    reader = readers()[name][place]
    folder, out = scratch / f'{[*readers()].index(name)}_{place}', scratch / 'out' / 'set'
    if not folder.exists():
        write_files(folder, {file: file_of(file, value, random.Random(0)) for file, value in reader.files.items()})
    out.parent.mkdir()
    file = rng.choice([*reader.files])
    (folder / file).write_bytes(mutated(file, reader.files[file], rng))
    TRIED.clear()
    outcome, failed = 'read', False
    signal.signal(signal.SIGPROF, too_slow)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder, out)
    except (RefusedError, *USER_ERRORS) as error:
        outcome, message = 'refused', str(error).strip() if isinstance(error, RefusedError) else one_line(error)
        if not 1 <= len(message) <= MESSAGE or '\n' in message:
            outcome, failed = f'a message of {len(message)} characters: {message:.300}', True
    except (Exception, TooSlowError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        outcome, failed = f'{type(error).__name__} in {Path(last.filename).name}, {last.name}: {error!s:.200}', True
        if shown:
            traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if TRIED:
        outcome, failed = f'tried {TRIED[0]}', True
    shutil.rmtree(out.parent)
    (folder / file).write_bytes(file_of(file, reader.files[file], random.Random(0)))
    return Result(name, outcome, failed)


def too_slow(*_: Any) -> None:
    raise TooSlowError(f'more than {SECONDS} s')


def run_part(seed: int, numbers: range, scratch: Path, results: Any) -> None:
    """Run cases in a process of their own, with limited memory; sends each result."""
    logging.disable()
    inside = (str(scratch), '/dev/')

    def watch(event: str, given: tuple[Any, ...]) -> None:
        opened = event == 'open' and isinstance(given[0], str) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if event in FORBIDDEN or ((opened or event == 'os.mkdir') and not str(given[0]).startswith(inside)):
            TRIED.append(f'{event} {given[0]}')

    sys.addaudithook(watch)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    for number in numbers:
        results.send(run_case(seed, number, scratch))


def run(seed: int, first: int, count: int, part: int = 1000) -> Iterator[tuple[int, Result]]:
    """Number and result of each case. The death of a process is a result, too."""
    context = multiprocessing.get_context('fork')
    number = first
    while number < count:
        with tempfile.TemporaryDirectory(dir='/dev/shm' if Path('/dev/shm').is_dir() else None) as scratch:
            numbers = range(number, min(count, number + part))
            answers, results = context.Pipe(duplex=False)
            process = context.Process(target=run_part, args=(seed, numbers, Path(scratch), results))
            process.start()
            results.close()
            for number in numbers:
                try:
                    if not answers.poll(12 * SECONDS):  # in a library or a lock, where no signal reaches it
                        process.kill()
                    yield number, answers.recv()
                except EOFError:
                    process.join()
                    yield number, Result('', f'the process died with status {process.exitcode}', True)
                    break
            number += 1
            process.join()


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1 after failures."""
    parser = argparse.ArgumentParser(description='Send mutated files through all readers.')
    parser.add_argument('--count', type=int, default=10_000, help='cases (default: 10000)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--state', type=Path, metavar='FILE', help='count there, and go on from it')
    parser.add_argument('--only', type=int, metavar='NUMBER', help='run one case and show its traceback')
    args = parser.parse_args(argv)
    if args.only is not None:
        with tempfile.TemporaryDirectory() as scratch:
            result = run_case(args.seed, args.only, Path(scratch), shown=True)
        print(f'{result.reader}: {result.outcome}')
        return int(result.failed)
    known = json.loads(args.state.read_text()) if args.state and args.state.exists() else {'next': 0, 'outcomes': {}}
    outcomes = Counter(known['outcomes'])
    for number, result in run(args.seed, known['next'], args.count):
        outcomes[f'{result.reader:<32}{"failed" if result.failed else result.outcome}'] += 1
        if result.failed:
            print(f'case {number}: {result.reader}: {result.outcome}', flush=True)
        if args.state and (number % 1000 == 999 or number == args.count - 1):
            write_json(args.state, {'next': number + 1, 'outcomes': outcomes})
    print('\n'.join(f'{name:<42}{number:>8}' for name, number in sorted(outcomes.items())))
    failures = sum(number for name, number in outcomes.items() if name.endswith('failed'))
    print(f'{outcomes.total()} cases, {failures} failures')
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
