"""A table of people's own: image, mask, expression, split."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmagnet.utils.errors import DataError
from mmmagnet.utils.masks import encode_mask

from .layouts import layout_hint
from .objects import image_size, read_mask
from .own_data import OwnSet, words_of
from .reading import short, take, take_name

MAX_FIELD = 2**24  # characters of a field; a polygon of a CSV table is one
DELIMITERS = ',;\t'


def read_table(sources: Sequence[tuple[str | None, Path]], images: Path, field: str | None) -> OwnSet:
    """Read tables with a row for each expression.

    Columns: ``image`` (in `images`), ``mask``, ``expression`` and, optional, ``split``. A mask is an image file (beside
    the table; above 0 is inside), polygons (``[x1, y1, x2, y2 ...]``, a list of such, or of points ``[x, y]``) or RLE,
    and empty for an expression that means nothing in the image. Equal masks of an image are one object.

    Example:
        >>> found = read_table([(None, Path('mine.csv'))], Path('photographs'), field=None)

    Args:
        sources: Split and file (CSV or JSON lines); the column ``split`` comes before it.
        images: Folder of the images.
        field: Column of the words. None: ``expression``.

    Raises:
        DataError: If a file is missing or damaged, or a row has no image or expression.
    """
    found = OwnSet()
    rows_of: dict[tuple[str, str | None], list[tuple[Any, str | None, list[str]]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    first: dict[str, str] = {}
    outlines: dict[Path, dict[str, Any]] = {}
    valued = 0
    for of_file, path in sources:
        for number, row in _rows(path):
            where = f'{path}, line {number}'
            name = take_name(row, 'image', where).replace('\\', '/')
            if name not in sizes:
                sizes[name] = image_size(images / name, where)
                first[name] = where
            take(row, field or 'expression', (str, list), where)
            words = words_of(row, field or 'expression', where)
            if not words:
                found.skip('rows without an expression')
                continue
            value = row.get('mask')
            outline = _outline(value, where)
            if isinstance(outline, Path):
                file = path.parent / outline
                if file not in outlines:
                    pixels = read_mask(file, where)
                    if pixels.shape != sizes[name][::-1]:
                        here, there = pixels.shape[::-1], sizes[name]
                        raise DataError(f'{where}: {file} is {here[0]} x {here[1]}, its image {there[0]} x {there[1]}')
                    valued += len(np.unique(pixels[pixels > 0])) > 1
                    outlines[file] = encode_mask(pixels)
                outline = outlines[file]
            split = row.get('split') or of_file
            if split is not None and not isinstance(split, str):
                raise DataError(f'{where}: field split is {short(split)}; expected text')
            rows_of.setdefault((name, split and split.strip()), []).append((outline, None, words))
    for (name, split), objects in rows_of.items():
        found.add_image(name, *sizes[name], split, objects, first[name])
    if valued:
        found.notes.append(f'{valued} masks have several values above 0: all of them are inside')
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and fields of every row."""
    try:
        if path.suffix.lower() in ('.jsonl', '.ndjson'):
            for number, line in enumerate(path.open('rb'), start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f'{path}, line {number}: is {short(row)}; expected a dict')
                    yield number, row
            return
        csv.field_size_limit(MAX_FIELD)
        with path.open(encoding='utf-8-sig', newline='') as file:
            header = file.readline()
            delimiter = max(DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            if not {'image', 'mask'} <= set(names):
                raise DataError(
                    f'{path}: the first line has to name the columns image, mask, expression and split; there are: '
                    f'{", ".join(names):.200}{layout_hint(path) if path.suffix != ".csv" else ""}'
                )
            reader.fieldnames = names
            for row in reader:
                if None in row:
                    raise DataError(f'{path}, line {reader.line_num}: has more fields than the first line')
                yield reader.line_num, {name: value for name, value in row.items() if value is not None}
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except (csv.Error, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'{path}: not a whole table in UTF-8 ({error})') from error


def _outline(value: Any, where: str) -> Path | dict[str, Any] | list[Any] | None:
    """Polygons, RLE or the path of a mask, of a field in any of its forms; None where it is empty."""
    if isinstance(value, str) and value.strip()[:1] in ('[', '{'):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f'{where}: field mask is no JSON ({error})') from error
    elif isinstance(value, str) and value.strip():
        return Path(take_name({'mask': value.strip()}, 'mask', where).replace('\\', '/'))
    if value is None or isinstance(value, str) or value == []:
        return None
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        raise DataError(f'{where}: field mask is {short(value)}; expected a path, polygons or RLE')
    if not isinstance(value[0], (list, dict)):
        return [value]
    if isinstance(value[0], list) and len(value[0]) == 2 and all(isinstance(point, list) for point in value):
        return [[each for point in value for each in point]]
    return value
