"""Referring sets as public mirrors publish them in parquet files, turned into a prepared folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmmagnet.utils import DataError

from .writing import Conversion, matching_instances, plain_ref, take, write_set

NEEDED = ('ref_id', 'ann_id', 'image_id', 'split', 'category_id')


def convert_parquet(files: Sequence[Path], out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Turn parquet files with a ref a row into a prepared folder.

    Columns: ``ref_id, ann_id, image_id, split, category_id``; ``sentences`` (or ``raw_sentences``), ``raw_anns`` and
    ``raw_image_info``, each as structures or as JSON text [R: as jxu124's mirrors have them]. Only the refs' own
    objects are in such files, so what else is in a picture is not known.

    Args:
        files: Parquet files, or folders of them.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, a column is missing, or pyarrow is not installed.
        OSError: If `out` cannot be written or replaced.
    """
    refs: list[dict[str, Any]] = []
    pictures: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    blank = 0
    for path, row, record in _rows(files):
        where = f'{path}, row {row}'
        for name in NEEDED:
            take(record, name, str if name == 'split' else int, where)
        sentences = _structure(record, ('sentences', 'raw_sentences'), list, where)
        ref, left_out = plain_ref(record, [record['ann_id']], record['category_id'], sentences, where)
        refs.append(ref)
        blank += left_out
        annotation = _structure(record, ('raw_anns',), dict, where)
        image = _structure(record, ('raw_image_info',), dict, where)
        annotations[record['ann_id']] = {
            'id': record['ann_id'],
            'image_id': record['image_id'],
            'category_id': record['category_id'],
            'segmentation': annotation.get('segmentation'),
        }
        pictures[record['image_id']] = {
            'id': record['image_id'],
            **{
                name: take(image, name, kind, f'{where}, raw_image_info')
                for name, kind in (('file_name', str), ('width', int), ('height', int))
            },
        }
    if not refs:
        raise DataError(f'{files[0]}: holds no refs: download it again')
    content = {
        'images': list(pictures.values()),
        'annotations': list(annotations.values()),
        'categories': [
            {'id': number, 'name': str(number)}
            for number in sorted({ann['category_id'] for ann in annotations.values()})
        ],
    }
    first = Path(files[0])
    conversion = write_set(refs, matching_instances(content, first, refs, first), out, images, overwrite, blank)
    conversion.warnings.append("parquet files hold the refs' own objects only, and no names of categories")
    return conversion


def _rows(files: Sequence[Path]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """File, number and content of every row, a batch in memory at a time."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            "parquet files are read by pyarrow, which is not here: pip install 'mmmagnet[parquet]'"
        ) from error
    paths = [path for given in files for path in (sorted(given.glob('*.parquet')) if given.is_dir() else [given])]
    if not paths:
        raise DataError(f'{files[0]}: holds no *.parquet: give the folder of the files, or the files')
    wanted = {*NEEDED, 'sentences', 'raw_sentences', 'raw_anns', 'raw_image_info'}
    for path in paths:
        if not path.is_file():
            raise DataError(f'{path}: no such file: give parquet files or a folder of them')
        number = 0
        try:
            with parquet.ParquetFile(path) as file:
                columns = [name for name in file.schema_arrow.names if name in wanted]
                for batch in file.iter_batches(batch_size=1000, columns=columns):
                    for record in batch.to_pylist():
                        yield path, number, record
                        number += 1
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f'{path}: not a whole parquet file ({line}): download it again') from error


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
