"""What the converters of people's own data share: words of any field, outlines, expressions and splits."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from ..verification.outlines import check_outlines
from .objects import ObjectSet
from .output import Conversion
from .reading import short


class OwnSet:
    """A set of people's own, image by image.

    On an image, objects that share an expression are meant together by it: "dog" as the category of two of them means
    both. What has no words stays as a distractor.

    Example:
        >>> found = OwnSet()
        >>> found.add_image('a.jpg', 640, 480, 'train', [([[1, 1, 9, 1, 9, 9]], 'cup', ['the left cup'])], 'mine.json')
        >>> found.write(Path('mine.json'), Path('data/mine'), Path('photographs'), overwrite=False, val_share=0.2)

    Attributes:
        notes: What the user should know, one sentence each.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._set = ObjectSet()
        self._skipped: Counter[str] = Counter()
        self._said: list[tuple[str, str | None, int, tuple[int, ...], list[str], str]] = []

    def add_image(
        self,
        file_name: str,
        width: int,
        height: int,
        split: str | None,
        objects: Iterable[tuple[Any, str | None, list[str]]],
        where: str,
    ) -> None:
        """Add an image with its objects.

        Args:
            file_name: In the folder of the images.
            width: W.
            height: H.
            split: None where the source tells none.
            objects: Outline (polygons or RLE; None for what is not in the image), category and expressions of each.
            where: For messages.

        Raises:
            DataError: If an outline is damaged.
        """
        if not (0 < width < 2**16 and 0 < height < 2**16):
            raise DataError(f'{where}: the image has {width} x {height} pixels: fix the size')
        image_id = self._set.image(file_name, width, height, where)
        meant: dict[str, tuple[str, list[int]]] = {}
        for outline, category, texts in objects:
            ann_ids = []
            if outline is not None:
                check = check_outlines([outline], [(width, height)])
                if check.damaged:
                    raise DataError(f'{where}: an outline is damaged ({check.damaged[0]}): fix it')
                if check.empty:
                    self.skip('objects without pixels')
                    continue
                ann_ids = [self._set.object(image_id, outline, category)]
            for text in texts:
                meant.setdefault(' '.join(text.casefold().split()), (text.strip(), []))[1].extend(ann_ids)
        by_target: dict[tuple[int, ...], list[str]] = {}
        for text, ids in meant.values():
            by_target.setdefault(tuple(sorted(set(ids))), []).append(text)
        for ids_of, texts in by_target.items():
            self._said.append((file_name, split, image_id, ids_of, texts, where))

    def skip(self, what: str) -> None:
        """Count something that is left out."""
        self._skipped[what] += 1

    def write(self, source: Path, out: Path, images: Path, overwrite: bool, val_share: float) -> Conversion:
        """Write the set.

        Args:
            source: For messages.
            out: The prepared folder.
            images: Folder of the images.
            overwrite: Replace a prepared folder that is there.
            val_share: Of the images whose split the source does not tell, how many are val; the others are train.

        Raises:
            DataError: If nothing can be used.
            OSError: If `out` cannot be written or replaced.
        """
        self.notes += [f'skipped {number} {what}' for what, number in self._skipped.items()]
        names = dict.fromkeys(name for name, split, *_ in self._said if split is None)
        chosen = choose_val(names, val_share)
        if names:
            self.notes.append(
                f'the source tells no split of {len(names)} images: {len(chosen)} of them, by their names, are val'
            )
        for name, split, image_id, ann_ids, texts, where in self._said:
            split = split or ('val' if name in chosen else 'train')
            self._set.express(split, image_id, ann_ids, ({'raw': text} for text in texts), where)
        if not self._said:
            raise DataError('; '.join([f'{source}: holds no expression of an object', *self.notes]))
        conversion = self._set.write(source, out, images, overwrite)
        conversion.warnings += self.notes
        return conversion


def choose_val(names: Iterable[str], share: float) -> set[str]:
    """A share of names, rounded up, that looks random and is the same each time.

    Example:
        >>> len(choose_val(['a.jpg', 'b.jpg', 'c.jpg'], 0.3))
        1
    """
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest())
    return set(ordered[: math.ceil(round(share * len(ordered), 6))])


def _value(record: Any, field: str) -> Any:
    for name in field.split('.'):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _text_fields(record: dict[str, Any]) -> list[str]:
    """Names of the fields that hold text, as ``--field`` takes them."""
    flat = {name: value for name, value in record.items() if not isinstance(value, dict)}
    for name, inner in record.items():
        if isinstance(inner, dict):
            flat.update({f'{name}.{last}': value for last, value in inner.items()})
    return [
        name
        for name, value in flat.items()
        if isinstance((value or [''])[0] if isinstance(value, list) else value, str)
    ]


def words_of(record: dict[str, Any], field: str, where: str) -> list[str]:
    """The expressions in a field, each line of a text or entry of a list; none where it is missing or blank.

    Example:
        >>> words_of({'attributes': {'said': 'left cup'}}, 'attributes.said', 'mine.json')
        ['left cup']

    Args:
        record: Of an object.
        field: Name of the field; dots lead into records in records.
        where: For messages.

    Raises:
        DataError: If the field holds something else.
    """
    value = _value(record, field)
    texts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(text, str) for text in texts):
        raise DataError(f'{where}: field {field} is {short(value)}; expected text, or a list of texts')
    lines = [line.strip() for text in texts for line in text.splitlines()]
    if any('\ud800' <= character <= '\udfff' for line in lines for character in line):
        raise DataError(f'{where}: field {field} is {short(value)}, with half a character in it')
    return [line for line in lines if line]


def find_field(records: Iterable[dict[str, Any]], fields: tuple[str, ...], source: Path) -> str:
    """The first of some fields that a record has words in.

    Raises:
        DataError: If there is none.
    """
    records = list(records)
    for field in fields:
        if any(_value(record, field) for record in records):
            return field
    there = ', '.join(sorted({short(name) for record in records[:100] for name in _text_fields(record)})) or 'none'
    raise DataError(
        f'{source}: no object has words in {" or ".join(fields)}: name another by --field; fields of text '
        f'there: {there:.200}; --field category takes the names of the categories'
    )
