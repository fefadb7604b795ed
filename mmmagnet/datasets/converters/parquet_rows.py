"""Rows of parquet files, within limits."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint

WANTED = (
    *('ref_id', 'ann_id', 'image_id', 'split', 'category_id', 'file_name'),  # jxu124/refcoco, refcocoplus, refcocog
    *('sentences', 'raw_sentences', 'texts', 'sent_ids', 'raw_anns', 'anns', 'raw_image_info', 'image_info'),
    *('ref_list', 'samples'),  # jxu124/refcoco-benchmark; moondream/refcoco-m
)
# Parquet stores repeated values once, so a few kilobytes can stand for any amount. RefCOCO's columns have 100 MB as
# JSON text, or 5 million numbers as structures.
MAX_VALUES = 30_000_000  # of a column in a row group
MAX_BYTES = 2**30  # of a column in a row group, without compression


def parquet_rows(files: Sequence[Path]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """File, number and content of every row of files of refs, one in memory at a time.

    Args:
        files: Parquet files, or folders of them.

    Raises:
        DataError: If a file is missing, damaged, too large or of another layout, or pyarrow is not installed.
    """
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
                refuse_layout(path, file.schema_arrow.names)
                number = 0
                for batch in file.iter_batches(batch_size=1000, columns=columns):
                    for row in range(batch.num_rows):
                        yield path, number, {name: batch.column(name)[row].as_py() for name in columns}
                        number += 1
        except DataError:
            raise
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
            raise DataError(f'{path}: not a whole parquet file ({_first_line(error)}){_fix(path)}') from error


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
        raise DataError(f'{path}: not a whole parquet file ({columns}){_fix(path)}')
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


def refuse_layout(path: Path, columns: list[str]) -> None:
    """Refuse a parquet file of another layout, by its columns.

    Raises:
        DataError: If it is not one of refs.
    """
    if {'ref_id', 'ref_list', 'samples'} & set(columns):
        return
    if {'question', 'answer'} <= set(columns):
        raise DataError(
            f'{path}: looks like lmms-lab/RefCOCO, which is for evaluation only and has no ids of refs: '
            'give jxu124/refcoco, refcocoplus or refcocog'
        )
    raise DataError(
        f'{path}: not a file of refs; columns there: {", ".join(columns):.200}; one with ref_id (jxu124/refcoco), '
        'ref_list (jxu124/refcoco-benchmark) or samples (moondream/refcoco-m) is needed'
    )


def _fix(path: Path) -> str:
    return ': download it again' if path.suffix == '.parquet' else layout_hint(path) or ': download it again'
