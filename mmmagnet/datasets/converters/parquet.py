"""Sets as public mirrors publish them in parquet files, one row for each ref."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from mmmagnet.utils.errors import DataError

from .output import Conversion, RefTable, take, write_set

NEEDED = {'ref_id': int, 'ann_id': int, 'image_id': int, 'split': str}
WANTED = (*NEEDED, 'category_id', 'sentences', 'raw_sentences', 'raw_anns', 'raw_image_info', 'file_name')
# Parquet stores repeated values once, so a few kilobytes can stand for any amount. RefCOCO's columns have 100 MB as
# JSON text, or 5 million numbers as structures.
MAX_VALUES = 30_000_000  # of a column in a row group
MAX_BYTES = 2**30  # of a column in a row group, without compression


def convert_parquet(files: Sequence[Path], out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Convert parquet files with one row for each ref to a prepared folder.

    Needed columns: ``ref_id, ann_id, image_id, split``, ``sentences`` (or ``raw_sentences``) and ``raw_anns``.
    Optional ones: ``category_id`` and ``raw_image_info``. Structures may be JSON text [R: as in jxu124's mirrors].
    Without ``raw_image_info`` an image is found by ``file_name``, and measured. Such files hold the refs' own objects
    only, so distractors are unknown.

    Example:
        >>> convert_parquet([Path('refcoco/data')], Path('data/refcoco_unc'), images=Path('train2014'))

    Args:
        files: Parquet files, or folders of them.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing, damaged or too large, a column is missing, or pyarrow is not installed.
        OSError: If `out` cannot be written or replaced.
    """
    table = RefTable()
    image_entries: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    for path, row, record in _rows(files):
        where = f'{path}, row {row}'
        for name, kind in NEEDED.items():
            take(record, name, kind, where)
        annotation = _structure(record, ('raw_anns',), dict, where)
        if not isinstance(annotation.get('segmentation'), (list, dict)):
            raise DataError(f'{where}: column raw_anns: field segmentation is missing: download the file again')
        made = {'id': record['ann_id'], 'image_id': record['image_id']}
        category_id = record.get('category_id', annotation.get('category_id'))
        if category_id is not None:
            made['category_id'] = take({'category_id': category_id}, 'category_id', int, where)
        annotations[record['ann_id']] = {**made, 'segmentation': annotation['segmentation']}
        sentences = _structure(record, ('sentences', 'raw_sentences'), list, where)
        text = sum(len(value) for value in record.values() if isinstance(value, str))
        table.add(record, [record['ann_id']], category_id, sentences, where, text)
        if record['image_id'] not in image_entries:
            image_entries[record['image_id']] = {'id': record['image_id'], **_image_entry(record, images, where)}
    if not table.refs:
        raise DataError(f'{files[0]}: holds no refs: download it again')
    categories = sorted({ann['category_id'] for ann in annotations.values() if 'category_id' in ann})
    content = {
        'images': list(image_entries.values()),
        'annotations': list(annotations.values()),
        'categories': [{'id': number, 'name': str(number)} for number in categories],
    }
    first = Path(files[0])
    conversion = write_set(table, content, (first, first), out, images, overwrite)
    conversion.warnings.append("parquet files hold the refs' own objects only, and no names of categories")
    return conversion


def _rows(files: Sequence[Path]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """File, number and content of every row, one in memory at a time."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "parquet files are read by pyarrow, which is not here: pip install 'pyarrow>=15,<27'"
        ) from error
    paths = [path for given in files for path in (sorted(given.glob('*.parquet')) if given.is_dir() else [given])]
    if not paths:
        raise DataError(f'{files[0]}: holds no *.parquet: give the folder of the files, or the files')
    for number, path in enumerate(paths):
        if not path.is_file():
            raise DataError(f'{path}: no such file: give parquet files or a folder of them')
        if path.resolve() in (other.resolve() for other in paths[:number]):
            raise DataError(f'{path}: is given twice: give each file once')
    for path in paths:
        try:
            texts = _check_declared(path)
            with parquet.ParquetFile(path, read_dictionary=texts) as file:  # what repeats is in memory once, too
                columns = [name for name in file.schema_arrow.names if name in WANTED]
                number = 0
                for batch in file.iter_batches(batch_size=1000, columns=columns):
                    for row in range(batch.num_rows):
                        yield path, number, {name: batch.column(name)[row].as_py() for name in columns}
                        number += 1
        except DataError:
            raise
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
            raise DataError(f'{path}: not a whole parquet file ({_first_line(error)}): download it again') from error


def _check_declared(path: Path) -> list[str]:
    """The columns of text that are read; raises DataError if the file says that it holds more than the limits."""
    # a process of its own: pyarrow's view of a damaged column's metadata may abort the process
    ways = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context('fork' if 'fork' in ways else 'spawn')
    answer, question = context.Pipe(duplex=False)
    child = context.Process(target=_declare, args=(path, question), daemon=True)
    child.start()
    question.close()
    try:
        columns = json.loads(answer.recv_bytes())
    except EOFError:
        columns = 'its metadata is damaged'
    finally:
        answer.close()
        child.join()
    if isinstance(columns, str):
        raise DataError(f'{path}: not a whole parquet file ({columns}): download it again')
    texts = set()
    for name, kind, values, size in columns:
        if values > MAX_VALUES or size > MAX_BYTES:
            raise DataError(
                f'{path}: column {name} has {values} values in {size} bytes, '
                f'more than {MAX_VALUES} in {MAX_BYTES}: give a file of refs'
            )
        if kind == 'BYTE_ARRAY':
            texts.add(name)
    return sorted(texts)


def _declare(path: Path, answer: Connection) -> None:
    """Send the name, type, number of values and bytes of every column that is read, or what is wrong, as JSON."""
    from pyarrow import parquet

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the last words of an aborted process go
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        found: Any = [
            (column.path_in_schema, column.physical_type, column.num_values, column.total_uncompressed_size)
            for column in columns
            if column.path_in_schema.split('.')[0] in WANTED
        ]
    except Exception as error:  # pyarrow raises its own kinds, and the usual ones
        found = _first_line(error)
    answer.send_bytes(json.dumps(found).encode())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _image_entry(record: dict[str, Any], images: Path, where: str) -> dict[str, Any]:
    """File name, width and height of a row's image."""
    if record.get('raw_image_info') is not None:
        image = _structure(record, ('raw_image_info',), dict, where)
        fields = (('file_name', str), ('width', int), ('height', int))
        return {name: take(image, name, kind, f'{where}, raw_image_info') for name, kind in fields}
    given = take(record, 'file_name', str, f'{where}, without raw_image_info')
    # that of a ref has the annotation after the image: COCO_train2014_000000581857_16.jpg
    file_name = re.sub(r'^(COCO_.*_\d{12})_\d+(\.\w+)$', r'\1\2', Path(given).name)
    try:
        with Image.open(images / file_name) as header:
            width, height = header.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f'{where}: column raw_image_info is missing, so {images / file_name} must tell its size, and cannot be '
            'read: give the folder of the images by --images'
        ) from error
    return {'file_name': file_name, 'width': width, 'height': height}


def _structure(record: dict[str, Any], names: Sequence[str], kind: type, where: str) -> Any:
    """The first of some columns that is there, out of JSON text where it is that."""
    name = next((name for name in names if record.get(name) is not None), names[0])
    value = record.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f'{where}: column {name} is no JSON ({error}): download the file again') from error
    return take({name: value} if value is not None else record, name, kind, where)
