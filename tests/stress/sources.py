"""Every layout that a converter reads, and the command that reads it."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
import json
import pickle
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import layouts
import numpy as np
from layouts import COCO_NAME, HEIGHT, WIDTH
from PIL import Image

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


class Source(NamedTuple):
    """A layout.

    Attributes:
        tool: Command in tools/dataset_converters.
        arguments: Of the command, without ``--images`` and ``--out``; ``@`` stands for the folder of the files.
        files: Path -> content, which `encode` makes a file.
        pairs: Expressions of val.
        images: Folder of the images.
    """

    tool: str
    arguments: tuple[str, ...]
    files: dict[str, Any]
    pairs: int
    images: str = '@/images'

    def command(self, folder: Path, out: Path) -> list[str]:
        """All arguments of the command."""
        arguments = [*self.arguments, '--images', self.images, '--out', str(out)]
        return [argument.replace('@', str(folder)) for argument in arguments]


def of_refer(
    dataset: str, split_by: str, change: Callable[..., None] | None = None, pairs: int = 2, name: str = 'refs'
) -> Source:
    """A set in REFER's layout."""
    records, content = layouts.refer(change)
    files = {f'{dataset}/{name}({split_by}).p': records, f'{dataset}/instances.json': content}
    return Source('refer', ('@', '--dataset', dataset, '--split-by', split_by), files, pairs)


def of_parquet(rows: list[dict[str, Any]], pairs: int = 2) -> Source:
    return Source('parquet', ('@/x.parquet',), {'x.parquet': rows}, pairs)


def all_sources() -> dict[str, Source]:
    """Every layout, named as in the table of docs/data.md."""
    records, content = layouts.refer(layouts.as_grefcoco)
    grefcoco = {'grefcoco/grefs(unc).json': records, 'grefcoco/instances.json': content}
    files = ('train=@/x_train.json', '@/x_val.json')
    whole, boxes = (
        {f'x_{split}.json': make(split) for split in ('train', 'val')}
        for make in (layouts.mdetr_file, layouts.published_mdetr)
    )
    said = ('train=@/train.json', 'val=@/val.json', '--field', 'attributes.said')
    coco = {'train.json': layouts.coco(range(3)), 'val.json': layouts.coco(range(3, 5))}
    labels = ('train=@/labels/train', 'val=@/labels/val')
    labelme = {
        'labels/train/0.json': layouts.labelme(0, imagePath='..\\..\\images\\0.png'),
        'labels/val/1.json': layouts.labelme(1, imagePath='../../images/1.png'),
    }
    labelme['labels/val/1.json']['shapes'].append(layouts.brush())
    return {
        'RefCOCO, RefCOCO+, RefCOCOg': of_refer('refcoco', 'unc'),
        'refclef': of_refer('refclef', 'unc', layouts.as_refclef),
        'R-RefCOCO': of_refer('rrefcoco', 'unc', layouts.as_r_refcoco),
        'RRSIS-D': of_refer('rrsisd', 'unc', layouts.as_rrsisd, pairs=1),
        'Ref-ZOM': of_refer('Ref-ZOM', 'final', layouts.as_ref_zom, name='Ref-ZOM'),
        'gRefCOCO': Source('grefcoco', ('@',), grefcoco, 2),
        '`jxu124/refcoco`': of_parquet(layouts.parquet_rows(text=True)),
        '`jxu124/refcoco`, structures': of_parquet(layouts.parquet_rows(text=False)),
        '`jxu124/refcoco-benchmark`': of_parquet(layouts.benchmark_rows()),
        '`moondream/refcoco-m`': of_parquet(layouts.reannotated_rows(), pairs=4),
        'MDETR': Source('mdetr', (*files, '--instances', '@/i.json'), {**boxes, 'i.json': layouts.instances()}, 2),
        'MDETR, with outlines': Source('mdetr', files, whole, 2),
        'SeqTR, SimVG, C3VG, DeRIS': Source('seqtr', ('@/x.json',), {'x.json': layouts.seqtr()}, 2),
        'CRIS, ETRIS, DETRIS': Source('cris', ('@', '--dataset', 'refcoco'), layouts.cris(), 2),
        'own COCO JSON': Source('custom', said, coco, 6),
        'own LabelMe files': Source('custom', labels, labelme, 4, images='@'),
        'own table, CSV': Source('custom', ('@/x.csv',), layouts.table('x.csv'), 2),
        'own table, JSON lines': Source('custom', ('@/x.jsonl',), layouts.table('x.jsonl'), 2),
    }


def encode(name: str, value: Any, protocol: int = 2) -> bytes:
    """A file, as its suffix says."""
    suffix = Path(name).suffix
    file = io.BytesIO()
    if suffix == '.p':
        return pickle.dumps(value, protocol)
    if suffix in ('.png', '.jpg'):
        Image.fromarray(value).save(file, {'.png': 'PNG', '.jpg': 'JPEG'}[suffix])
    elif suffix == '.parquet':
        import pyarrow
        from pyarrow import parquet

        rows = [row if isinstance(row, dict) else {'ref_id': row} for row in value] if isinstance(value, list) else []
        columns = {}
        for key in dict.fromkeys(key for row in rows for key in row):
            column = [row.get(key) for row in rows]
            try:
                made = pyarrow.table({'x': pyarrow.array(column)})
                parquet.write_table(made, io.BytesIO())
            except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):  # of several kinds, or of none
                made = pyarrow.table({'x': [json.dumps(entry) for entry in column]})
            columns[key.encode(errors='replace').decode()] = made['x']
        parquet.write_table(pyarrow.table(columns), file)
    elif suffix == '.csv':
        rows = [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
        text = io.StringIO(newline='')
        writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: each if isinstance(each, str) else json.dumps(each) for key, each in row.items()})
        return text.getvalue().encode('utf-8', 'surrogatepass')
    elif suffix in ('.zip', '.tar'):
        write_archive(file, suffix, [member for member in value if isinstance(member, dict)])
    elif suffix == '.jsonl':
        return b''.join(json.dumps(row).encode() + b'\n' for row in (value if isinstance(value, list) else [value]))
    else:
        return json.dumps(value).encode()
    return file.getvalue()


def write_archive(file: io.BytesIO, suffix: str, members: list[dict[str, Any]]) -> None:
    """A zip or tar of members: name, text, target of a link, and a tar's letter for the kind."""
    made: Any = zipfile.ZipFile(file, 'w') if suffix == '.zip' else tarfile.TarFile(fileobj=file, mode='w')
    with warnings.catch_warnings(), made as archive:
        warnings.simplefilter('ignore')  # of a name that is there twice
        for member in members:
            given = {key: str(member.get(key)).encode(errors='replace') for key in ('name', 'data', 'link', 'type')}
            if isinstance(archive, zipfile.ZipFile):
                entry = zipfile.ZipInfo(given['name'].decode())
                entry.external_attr = 0o120777 << 16 if given['link'] else 0  # a symbolic link
                archive.writestr(entry, given['data'])
            else:
                header = tarfile.TarInfo(given['name'].decode())
                header.type, header.linkname = given['type'][:1] or tarfile.REGTYPE, given['link'].decode()
                header.size = len(given['data'])
                archive.addfile(header, io.BytesIO(given['data']))


def write_files(folder: Path, files: dict[str, Any]) -> None:
    """Write the files of a source, made already or not, and all images, which are noise."""
    rng = np.random.default_rng(0)
    images = {f'images/{number}.png': (HEIGHT, WIDTH, 3) for number in range(5)}
    for number in (1, 2):
        images |= dict.fromkeys((f'images/{number}.jpg', f'images/{COCO_NAME.format(number)}'), (6, 8, 3))
    made = {name: rng.integers(0, 256, shape, np.uint8) for name, shape in images.items()}
    for name, value in {**files, **made}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(value if isinstance(value, bytes) else encode(name, value))


@functools.lru_cache
def main_of(name: str) -> Callable[[list[str]], int]:
    """The main function of a command in tools/dataset_converters."""
    if str(TOOLS) not in sys.path:  # where Python puts a script's folder
        sys.path.append(str(TOOLS))
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
