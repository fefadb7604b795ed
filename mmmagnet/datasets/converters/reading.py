"""Fields of foreign files, checked as they are read."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint

MAX_JSON = 2**30  # bytes; all of COCO's train2014 has 448 MB
MAX_NAME = 1000  # characters of a path


def read_json(path: Path, fix: str = 'download it again') -> Any:
    """Content of a JSON file.

    Raises:
        DataError: If it is missing, cannot be read, too large, or is not whole JSON.
    """
    try:
        size = path.stat().st_size
        content = json.loads(path.read_bytes()) if size <= MAX_JSON else None
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such file: {fix}') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not whole JSON ({error}){layout_hint(path) or f": {fix}"}') from error
    if size > MAX_JSON:
        raise DataError(f'{path}: has {size} bytes, more than {MAX_JSON}: give a file of refs or instances')
    return content


def entries(content: dict[str, Any], name: str, path: Path, *needed: str) -> list[dict[str, Any]]:
    """A list of records with a whole number as ``id``, and under the names that are `needed`.

    Raises:
        DataError: If it is not there, or a record is not like that.
    """
    records = take(content, name, list, str(path))
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not all(type(record.get(key)) is int for key in ('id', *needed)):
            raise DataError(f'{path}, {name}[{number}]: field {" or ".join(("id", *needed))} is not a number')
    return records


def take(record: dict[str, Any], name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field of a record.

    Raises:
        DataError: If it is missing or of another kind.
    """
    if name not in record:
        there = ', '.join(str(key)[:40] for key in [*record][:20]) or 'none'
        raise DataError(f'{where}: field {name} is missing; fields there: {there:.200}')
    value = record[name]
    whole = kind is not int or (isinstance(value, int) and abs(value) < 2**63)
    if not isinstance(value, kind) or isinstance(value, bool) or not whole:
        expected = ' or '.join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f'{where}: field {name} is {short(value)}; expected {expected}: download the file again')
    if isinstance(value, str) and any('\ud800' <= character <= '\udfff' for character in value):
        raise DataError(
            f'{where}: field {name} is {short(value)}, with half a character in it: download the file again'
        )
    return value


def take_name(record: dict[str, Any], name: str, where: str) -> str:
    """A field with the path of a file.

    Raises:
        DataError: If it is missing or no system could have a file of that name.
    """
    value = take(record, name, str, where)
    if not 0 < len(value) <= MAX_NAME or '\0' in value:
        raise DataError(f'{where}: field {name} is {short(value)}; expected the name of a file')
    return value


def refuse_flags(record: dict[str, Any], known: Collection[str], where: str) -> None:
    """Refuse a field that is true or false and not known: it may change what an expression means.

    Raises:
        DataError: If there is one.
    """
    for name, value in record.items():
        if isinstance(value, bool) and name not in known:
            raise DataError(
                f'{where}: field {short(name)} is {value}, a flag that this converter does not know and that may '
                'change what is meant: remove it if it does not'
            )


def short(value: Any) -> str:
    """A value in at most 60 characters, however large or nested it is."""
    try:
        return reprlib.repr(value)[:60]
    except ValueError:  # an integer of thousands of digits
        return f'of kind {type(value).__name__}'
