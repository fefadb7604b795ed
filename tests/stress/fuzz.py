"""Mutated files through the converters, the verification and the dataset: refused with a message, or read.

A case follows from seed and number alone: ``--only`` repeats one case with its traceback.

Example:
    python tests/stress/fuzz.py --count 100000 --seed 0
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import json
import logging
import multiprocessing
import pickle
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

import pyarrow
from PIL import Image
from pyarrow import parquet

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.converters.cris import convert_cris
from mmmagnet.datasets.converters.custom import convert_custom
from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
from mmmagnet.datasets.converters.mdetr import convert_mdetr
from mmmagnet.datasets.converters.parquet import convert_parquet
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.converters.seqtr import convert_seqtr
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError

TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'
SECONDS = 5  # no case of this size has a reason to take longer
MARK = '@@here@@'  # where raw text or instructions are put in
FORBIDDEN = ('pickle.find_class', 'os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen', 'socket.connect')
TRIED: list[str] = []  # events of FORBIDDEN


def small_refs() -> list[dict[str, Any]]:
    """Refs as REFER has them."""
    return [
        {
            'ref_id': number,
            'ann_id': 10 + number,
            'category_id': 1,
            'image_id': image_id,
            'file_name': f'{image_id}_{number}.jpg',
            'split': split,
            'sent_ids': [2 * number, 2 * number + 1],
            'sentences': [
                {'raw': said, 'sent': said, 'sent_id': 2 * number + index, 'tokens': said.split()}
                for index, said in enumerate(['the left one', f'thing {number}, café'])
            ],
        }
        for number, (image_id, split) in enumerate([(1, 'train'), (1, 'train'), (2, 'train'), (3, 'val')])
    ]


def small_instances() -> dict[str, list[dict[str, Any]]]:
    """COCO instances: polygons, one of them thin, and RLE of both kinds."""
    outlines = [
        [[1, 1, 6, 1, 6, 5, 1, 5]],
        [[0.5, 0.5, 7.5, 0.7, 7.5, 0.8], [1, 1, 5, 1, 5, 5]],
        {'size': [6, 8], 'counts': [10, 20, 18]},
        {'size': [6, 8], 'counts': ':d0b0'},
    ]
    return {
        'images': [{'id': key, 'file_name': f'{key}.png', 'width': 8, 'height': 6} for key in (1, 2, 3)],
        'annotations': [
            {'id': 10 + number, 'image_id': image_id, 'category_id': 1, 'iscrowd': 0, 'segmentation': outline}
            for number, (image_id, outline) in enumerate(zip((1, 1, 2, 3), outlines, strict=True))
        ],
        'categories': [{'id': 1, 'name': 'thing'}],
    }


def prepared_refs() -> list[dict[str, Any]]:
    """Refs as lines of ``refs.jsonl``."""
    return [
        {
            **{key: ref[key] for key in ('ref_id', 'image_id', 'category_id', 'split')},
            'ann_ids': [ref['ann_id']],
            'sentences': [{key: said[key] for key in ('sent_id', 'raw')} for said in ref['sentences']],
        }
        for ref in small_refs()
    ]


def grefcoco_refs() -> list[dict[str, Any]]:
    """Refs as gRefCOCO has them: the second has two objects, the third none."""
    objects = ([10], [10, 11], -1, [13])
    return [
        {**ref, 'ann_id': ids, 'category_id': ids if ids == -1 else [1] * len(ids)}
        for ref, ids in zip(small_refs(), objects, strict=True)
    ]


def rows() -> list[dict[str, Any]]:
    """Rows of a parquet file."""
    image, outline = ({entry['id']: entry for entry in small_instances()[key]} for key in ('images', 'annotations'))
    names = ('ref_id', 'ann_id', 'image_id', 'split', 'category_id', 'sentences')
    return [
        {
            **{key: ref[key] for key in names},
            'raw_anns': outline[ref['ann_id']],
            'raw_image_info': image[ref['image_id']],
        }
        for ref in small_refs()
    ]


def mdetr_content() -> dict[str, list[dict[str, Any]]]:
    """A file of MDETR: one image entry for each expression."""
    said = [(row, sentence) for row in rows() for sentence in row['sentences']]
    return {
        'images': [
            {**row['raw_image_info'], 'id': number, 'original_id': row['image_id'], 'caption': sentence['raw']}
            for number, (row, sentence) in enumerate(said)
        ],
        'annotations': [
            {**row['raw_anns'], 'id': 50 + number, 'original_id': row['ann_id'], 'image_id': number}
            for number, (row, _) in enumerate(said)
        ],
        'categories': small_instances()['categories'],
    }


def seqtr_content() -> dict[str, list[dict[str, Any]]]:
    """SeqTR's file of all splits."""
    entries = [
        {
            'image_id': row['image_id'],
            'width': 8,
            'height': 6,
            'expressions': [sentence['raw'] for sentence in row['sentences']],
            'mask': row['raw_anns']['segmentation'],
        }
        for row in rows()
    ]
    return {'train': entries[:3], 'val': entries[3:]}


def cris_entries() -> list[dict[str, Any]]:
    """CRIS's annotations of a split."""
    return [
        {'segment_id': number, 'img_name': f'{row["image_id"]}.jpg', 'cat': 1, 'sentences': row['sentences']}
        for number, row in enumerate(rows())
    ]


def cris_file() -> dict[str, bytes]:
    """The same as a file."""
    return {'anns/x/train.json': json.dumps(cris_entries()).encode()}


def own_coco() -> dict[str, list[dict[str, Any]]]:
    """COCO JSON with words."""
    content = small_instances()
    for annotation in content['annotations']:
        annotation.update(caption='a thing', attributes={'said': ['it', 'that']})
    return content


def labelme_content() -> dict[str, Any]:
    """A file of LabelMe, with a polygon and a mask."""
    shape = {'label': 'cup', 'group_id': None, 'shape_type': 'polygon', 'description': 'the cup'}
    file = io.BytesIO()
    Image.new('L', (3, 2), 255).save(file, 'PNG')
    brush = {'shape_type': 'mask', 'points': [[1, 1], [3, 2]], 'mask': base64.b64encode(file.getvalue()).decode()}
    shapes = [{**shape, 'points': [[1, 1], [6, 1], [6, 5]]}, {**shape, **brush}]
    return {'shapes': shapes, 'imagePath': '1.png', 'imageWidth': 8, 'imageHeight': 6}


def own_table() -> list[dict[str, Any]]:
    """A table of polygons, RLE, and nothing."""
    masks = [[1, 1, 6, 1, 6, 5], '[[1, 1, 6, 1, 6, 5]]', {'size': [6, 8], 'counts': [10, 20, 18]}, '', '1.png']
    return [
        {'image': f'{1 + number % 3}.png', 'mask': mask, 'expression': f'thing {number}', 'split': 'train'}
        for number, mask in enumerate(masks)
    ]


def as_json(value: Any, rng: random.Random) -> bytes:
    return json.dumps(value, indent=rng.choice([None, None, 1])).replace(f'"{MARK}"', raw_json(rng)).encode()


def as_json_lines(value: Any, rng: random.Random) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return ''.join(json.dumps(line).replace(f'"{MARK}"', raw_json(rng)) + '\n' for line in lines).encode()


def as_pickle(value: Any, rng: random.Random) -> bytes:
    data = pickle.dumps(value, rng.choice([0, 1, 2, 2, 4, 5]))
    for text in (f'V{MARK}\n', f'X\x08\0\0\0{MARK}', f'\x8c\x08{MARK}'):
        data = data.replace(text.encode('latin-1'), raw_instructions(rng))
    return data


def as_parquet(value: Any, rng: random.Random) -> bytes:
    """Each column as it is where one kind fits all rows, else as JSON text."""
    table = {}
    for name in rows()[0]:
        column = [row.get(name) if isinstance(row, dict) else row for row in value]
        try:
            table[name] = pyarrow.array(column)
        except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
            table[name] = pyarrow.array([as_json(entry, rng).decode() for entry in column])
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(table), file, compression=rng.choice(['NONE', 'SNAPPY']))
    return file.getvalue()


def raw_json(rng: random.Random) -> str:
    depth = rng.choice([10, 300, 900, 990, 5000, 100_000])
    nested = ['[' * depth + ']' * depth, '{"a":' * depth + '1' + '}' * depth]
    return rng.choice([*nested, '9' * 5000, '1e999', '-0', 'NaN'])


def raw_instructions(rng: random.Random) -> bytes:
    """What an ordinary pickler would not write."""
    depth = rng.choice([3, 30, 500, 100_000])
    call = b'X\x04\0\0\0true\x85R'
    return rng.choice([
        b']' * depth + b'a' * (depth - 1), b')' + b'\x85' * depth, b'}' * depth + b'Ns' * (depth - 1),
        b'})' + b'\x85' * depth + b'Ns', b'cos\nsystem\n' + call, b'cbuiltins\neval\n' + call,
        b'X\x02\0\0\0osX\x06\0\0\0system\x93' + call, b'(X\x04\0\0\0trueios\nsystem\n',
        b'(cos\nsystem\nX\x04\0\0\0trueo', b'ccollections\nOrderedDict\n)\x81}b', b'\x82\x01' + call, b'Pid\n', b'NQ',
        b'\x8f(K\x01\x90', b'\x96' + b'\xff' * 6 + b'\0\0', b'\x97\x98', b'X\xff\xff\xff\x7f', b'\x8b\xff\xff\xff\x7f',
        b'r\xff\xff\xff\x7f', b']q\x07' + b'h\x07a' * 3, b'I' + b'9' * 5000 + b'\n',
    ])  # fmt: skip


class Route(NamedTuple):
    """A kind of file, what it stands among, and who reads it.

    Attributes:
        name: Path of the file in the folder of the input.
        value: Its content, before it is mutated.
        encode: How the content becomes bytes.
        others: The other files.
        read: Takes the folder of the input and that of the output.
    """

    name: str
    value: Callable[[], Any]
    encode: Callable[[Any, random.Random], bytes]
    others: dict[str, bytes]
    read: Callable[[Path, Path], Any]


def convert(converter: Callable[[Path, Path], Any]) -> Callable[[Path, Path], None]:
    """A reader that converts, and checks that nothing half-written stays and the result can be read."""

    def read(folder: Path, out: Path) -> None:
        try:
            converter(folder, out)
        finally:
            left = [path.name for path in out.parent.iterdir() if path != out]
            assert not left, f'left behind: {left[0].split("-")[0]}'
            assert not out.exists() or {'refs.jsonl', 'instances.json'} <= {path.name for path in out.iterdir()}
        try:
            look(out, images=False)
        except DataError as error:
            raise AssertionError(f'converted, but cannot be read: {error}') from error

    return read


def look(folder: Path, images: bool = True) -> None:
    report = verify_prepared(folder, images=images, tokenizer=TOKENIZER)
    json.dumps([report.as_dict(), '\n'.join(report.lines()).encode().decode()])
    for split in ('train', 'val'):
        for test_mode in (False, True):
            try:
                RefCOCODataset(data_root=str(folder), split=split, test_mode=test_mode)
            except DataError as error:
                if split in report.counts and not report.of('error'):
                    raise AssertionError(f'verified without an error, but no dataset: {error}') from None


def routes() -> list[Route]:
    instances = json.dumps(small_instances()).encode()
    lines = as_json_lines(prepared_refs(), random.Random(0))
    refs = pickle.dumps(small_refs(), 2)
    by_refer = convert(lambda folder, out: convert_refer(folder, 'refcoco', 'unc', out))
    by_grefcoco = convert(lambda folder, out: convert_grefcoco(folder, 'unc', out))
    by_mdetr = convert(lambda folder, out: convert_mdetr({'train': folder / 'mdetr.json'}, out, Path('nowhere')))
    by_parquet = convert(lambda folder, out: convert_parquet([folder / 'rows.parquet'], out, Path('nowhere')))
    by_seqtr = convert(lambda folder, out: convert_seqtr(folder / 'seqtr.json', out, Path('nowhere')))
    by_cris = convert(lambda folder, out: convert_cris(folder, 'x', out, Path('nowhere')))
    own = [
        convert(lambda folder, out, name=name: convert_custom([('train', folder / name)], out, folder))
        for name in ('coco.json', 'labels', 'table.jsonl')
    ]
    image = io.BytesIO()
    Image.new('L', (8, 6), 255).save(image, 'PNG')
    masks = {f'masks/x/{number}.png': image.getvalue() for number in range(4)}
    photographs = {f'{number}.png': image.getvalue() for number in (1, 2, 3)}
    return [
        Route('seqtr.json', seqtr_content, as_json, {}, by_seqtr),
        Route('anns/x/train.json', cris_entries, as_json, masks, by_cris),
        Route('masks/x/0.png', list, lambda *_: image.getvalue(), {**masks, **cris_file()}, by_cris),
        Route('coco.json', own_coco, as_json, {}, own[0]),
        Route('labels/1.json', labelme_content, as_json, {'labels/1.png': b''}, own[1]),
        Route('table.jsonl', own_table, as_json_lines, photographs, own[2]),
        Route('refcoco/refs(unc).p', small_refs, as_pickle, {'refcoco/instances.json': instances}, by_refer),
        Route('refcoco/instances.json', small_instances, as_json, {'refcoco/refs(unc).p': refs}, by_refer),
        Route('grefcoco/grefs(unc).json', grefcoco_refs, as_json, {'grefcoco/instances.json': instances}, by_grefcoco),
        Route('mdetr.json', mdetr_content, as_json, {}, by_mdetr),
        Route('rows.parquet', rows, as_parquet, {}, by_parquet),
        Route(
            'refs.jsonl', prepared_refs, as_json_lines, {'instances.json': instances}, lambda folder, _: look(folder)
        ),
        Route('instances.json', small_instances, as_json, {'refs.jsonl': lines}, lambda folder, _: look(folder)),
    ]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key."""
    for key in range(len(value)) if isinstance(value, list) else value:
        yield value, key
        if isinstance(value[key], (list, dict)):
            yield from places(value[key])


HOSTILE: list[Any] = [
    None, True, False, 0, -1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -1e308, 1e308, float('nan'), float('inf'),
    '', ' ', 'train', 'val', '10', '\0', '\ud800', '\u202e\x1b[2J\n', '\u200b', 'a ' * 5000, '../../../etc/passwd',
    '/etc', 'CON', [], {}, [[]], [None], [1, 2, 3], [1e9, 0, 0, 1e9, 1e9, 1e9], [[1e9, 0, 0, 1e9, 1e9, 1e9]], [[1, 1]],
    [[float('nan')] * 6], [['1'] * 6], {'size': [6, 8], 'counts': [48]}, {'size': [6, 8], 'counts': [0, 48]},
    {'size': [6, 8], 'counts': 'o' * 3000}, {'size': [6, 8], 'counts': '\xff\xff'}, {'size': [6, 8], 'counts': -1},
    {'size': [2**40, 2**40], 'counts': [2**80]}, {'size': None, 'counts': None}, {'counts': '0'}, MARK, MARK, MARK,
]  # fmt: skip


def mutate_value(value: Any, rng: random.Random) -> None:
    """Change one place, in place."""
    found = list(places(value))
    if not found:
        return
    container, key = rng.choice(found)
    action = rng.randrange(6)
    if action == 0:
        del container[key]
    elif action == 1:  # a value from elsewhere
        other, other_key = rng.choice(found)
        container[key] = copy.deepcopy(other[other_key])
    elif action == 2 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif action == 3 and isinstance(container[key], (int, float)) and abs(container[key]) < 1e300:
        container[key] = rng.choice([-container[key], container[key] + 1, container[key] * 10, container[key] / 3])
    elif action == 4 and isinstance(container, dict):
        container[rng.choice(['id', 'segmentation', 'ann_ids', 'x', '\ud800'])] = container.pop(key)
    else:
        container[key] = copy.deepcopy(rng.choice(HOSTILE))


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, or move them."""
    if not data:
        return bytes(rng.randrange(256) for _ in range(5))
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 1, 4, 30, 300]))
    action = rng.randrange(6)
    if action == 0:
        return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
    if action == 1:
        return data[:start]
    if action == 2:
        return data[:start] + data[end:]
    if action == 3:
        return data[:start] + data[start:end] * rng.choice([2, 2, 100]) + data[end:]
    if action == 4:
        at = rng.randrange(len(data))
        return data[:at] + data[start:end] + data[at:]
    return data[:start] + rng.choice([b'\xff' * 4, b'\0', b'[[', b'"', b'(', b'.', raw_instructions(rng)]) + data[end:]


def make_case(route: Route, rng: random.Random) -> bytes:
    """The mutated file."""
    value = route.value()
    how = rng.choice(['value', 'value', 'bytes', 'both'])
    for _ in range(rng.choice([1, 1, 1, 2, 3]) if how != 'bytes' else 0):
        mutate_value(value, rng)
    data = route.encode(value, rng)
    for _ in range(rng.choice([1, 1, 2, 4]) if how != 'value' else 0):
        data = mutate_bytes(data, rng)
    return data


class TooSlowError(BaseException):
    """A case takes longer than it has a reason to."""


class Result(NamedTuple):
    """How a case ended: the name of its route; ``read``, ``refused``, or what went wrong."""

    route: str
    outcome: str
    failed: bool


def run_case(seed: int, number: int, scratch: Path, shown: bool = False) -> Result:
    """Run a case in the folder `scratch`, which is emptied; `shown` prints the traceback of a failure."""
    rng = random.Random(f'{seed} {number}')
    all_routes = routes()
    route = all_routes[number % len(all_routes)]
    shutil.rmtree(scratch, ignore_errors=True)
    folder, out = scratch / 'in', scratch / 'out' / 'set'
    out.parent.mkdir(parents=True)
    (folder / 'images').mkdir(parents=True)
    for name, data in {**route.others, route.name: make_case(route, rng)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    TRIED.clear()
    outcome, failed = 'read', False
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        route.read(folder, out)
    except (DataError, OSError) as error:
        outcome = 'refused'
        if not 1 <= len(str(error).strip()) <= 2000:
            outcome, failed = f'a message of {len(str(error))} characters: {error!s:.300}', True
    except (Exception, TooSlowError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        outcome, failed = f'{type(error).__name__} in {Path(place.filename).name}, {place.name}: {error!s:.200}', True
        if shown:
            traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if TRIED:
        outcome, failed = f'tried {TRIED[0]}', True
    if outcome == 'refused' and out.exists():
        outcome, failed = 'refused, but there is an output', True
    return Result(route.name, outcome, failed)


def too_slow(*_: Any) -> None:
    raise TooSlowError(f'more than {SECONDS} s')


signal.signal(signal.SIGALRM, too_slow)


def run_part(seed: int, numbers: range, scratch: Path, results: Any) -> None:
    """Run cases in a process of their own, with limited memory; sends each result."""
    logging.disable()
    sys.addaudithook(lambda event, _: TRIED.append(event) if event in FORBIDDEN else None)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**32, used + 2**32))
    for number in numbers:
        results.send(run_case(seed, number, scratch))


def run(seed: int, count: int, part: int = 1000) -> Iterator[tuple[int, Result]]:
    """Number and result of each case. The death of a process is a result, too."""
    context = multiprocessing.get_context('fork')
    number = 0
    with tempfile.TemporaryDirectory() as scratch:
        while number < count:
            numbers = range(number, min(count, number + part))
            answers, results = context.Pipe(duplex=False)
            process = context.Process(target=run_part, args=(seed, numbers, Path(scratch, 'case'), results))
            process.start()
            results.close()
            for number in numbers:
                try:
                    if not answers.poll(4 * SECONDS):  # in a library, where no signal reaches it
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
    parser = argparse.ArgumentParser(description='Send mutated files through converters, verification and dataset.')
    parser.add_argument('--count', type=int, default=10_000, help='cases (default: 10000)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', type=int, metavar='NUMBER', help='run one case and show its traceback')
    args = parser.parse_args(argv)
    if args.only is not None:
        with tempfile.TemporaryDirectory() as scratch:
            result = run_case(args.seed, args.only, Path(scratch, 'case'), shown=True)
        print(f'{result.route}: {result.outcome}')
        return int(result.failed)
    outcomes: Counter[tuple[str, str]] = Counter()
    for number, result in run(args.seed, args.count):
        outcomes[result.route, 'failed' if result.failed else result.outcome] += 1
        if result.failed:
            print(f'case {number}: {result.route}: {result.outcome}', flush=True)
    for (route, outcome), number in sorted(outcomes.items()):
        print(f'{route:<26}{outcome:<10}{number:>8}')
    failures = sum(number for (_, outcome), number in outcomes.items() if outcome == 'failed')
    print(f'{sum(outcomes.values())} cases, {failures} failures')
    return int(failures > 0)


if __name__ == '__main__':
    sys.exit(main())
