"""Reading a prepared folder: ``refs.jsonl`` line by line, and single refs of it by their number."""

from __future__ import annotations

import gc
import json
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mmmagnet.utils.errors import DataError

from .indexed_file import IndexedFile

NO_SET = (
    'no prepared set there; write it with tools/dataset_converters/refer.py (or synthetic.py), or give its folder as '
    'data_root'
)


class Refs(IndexedFile):
    """The refs of a prepared folder, in the order of its ``refs.jsonl``.

    Args:
        path: ``refs.jsonl``.
        stamp: Size and time that the file must have. Default: any.

    Attributes:
        splits: Names of the splits.
        image_id: Image of each ref, (refs,).
        sentences: Number of sentences of each ref, (refs,).
        cleaned: Whether every sentence of a ref has a text ``sent``, (refs,).

    Raises:
        DataError: If the file is missing or damaged.

    Example:
        >>> refs = Refs(Path('data/refcoco_unc/refs.jsonl'))
        >>> refs.read(0)['sentences'][0]['raw']
        'THE LADY WITH THE BLUE SHIRT'
    """

    missing = NO_SET

    def __init__(self, path: Path, stamp: str | None = None) -> None:
        super().__init__(path, stamp)
        self.splits: list[str] = json.loads(self.columns['splits'].tobytes())
        self.image_id = self.columns['image_id']
        self.sentences = self.columns['sentences']
        self.cleaned = self.columns['cleaned']

    def scan(self) -> dict[str, np.ndarray]:
        """Read all lines once, and check them."""
        first, image_id, split, sentences, objects, object_start = (array('q') for _ in range(6))
        cleaned = array('b')
        codes: dict[str, int] = {}
        for line_start, ref in read_refs(self.path):
            first.append(line_start)
            image_id.append(ref['image_id'])
            split.append(codes.setdefault(ref['split'], len(codes)))
            sentences.append(len(ref['sentences']))
            cleaned.append(all(isinstance(sentence.get('sent'), str) for sentence in ref['sentences']))
            object_start.append(len(objects))
            objects.extend(ref['ann_ids'])
        first.append(self.size)
        object_start.append(len(objects))
        columns = {'first': first, 'image_id': image_id, 'split': split, 'sentences': sentences}
        columns |= {'objects': objects, 'object_start': object_start}
        return {name: np.asarray(column) for name, column in columns.items()} | {
            'cleaned': np.asarray(cleaned).astype(bool),
            'splits': np.frombuffer(json.dumps(list(codes)).encode(), np.uint8),
        }

    def read(self, row: int) -> dict:
        """A line of the file.

        Raises:
            DataError: If it is not what it was when the file was indexed.
        """
        first, end = self.columns['first'][row : row + 2].tolist()
        ref = self.record(first, end - first)
        try:
            check_ref(ref)
        except (KeyError, ValueError, TypeError, OverflowError):
            raise self.changed() from None
        split = self.splits[self.columns['split'][row]]
        known = split, int(self.image_id[row]), self.objects(row), int(self.sentences[row])
        if known != (ref['split'], ref['image_id'], ref['ann_ids'], len(ref['sentences'])):
            raise self.changed()
        return ref

    def objects(self, row: int) -> list[int]:
        """Annotations of a ref."""
        start, end = self.columns['object_start'][row : row + 2].tolist()
        return self.columns['objects'][start:end].tolist()

    def rows(self, split: str) -> np.ndarray:
        """Numbers of the refs of a split."""
        code = self.splits.index(split) if split in self.splits else -1
        return np.flatnonzero(self.columns['split'] == code)

    def images_of_splits(self) -> dict[str, np.ndarray]:
        """Image ids by split, each once, in order."""
        return {split: np.unique(self.image_id[self.rows(split)]) for split in self.splits}


def read_refs(path: Path) -> Iterator[tuple[int, dict]]:
    """Checked refs of a prepared folder, of all splits; each with the first byte of its line.

    Args:
        path: ``refs.jsonl``.

    Raises:
        DataError: If the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f'{path}: {NO_SET}')
    start = 0
    with path.open('rb') as lines:
        for number, line in enumerate(lines, start=1):
            try:
                ref = json.loads(line)
                check_ref(ref)
            except KeyError as error:
                raise DataError(f'{path}, line {number}: field {error} is missing; convert the set again') from error
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise DataError(f'{path}, line {number}: not a ref ({error}); convert the set again') from error
            yield start, ref
            start += len(line)


def check_ref(ref: dict) -> None:
    """Raise KeyError, TypeError, ValueError or OverflowError unless a line has the fields of a ref."""
    for field, kind in (('split', str), ('ref_id', int), ('image_id', int), ('ann_ids', list), ('sentences', list)):
        if not isinstance(ref[field], kind):
            raise TypeError(f'{field} is {ref[field]!r:.60}')
    if not all(isinstance(ann_id, int) for ann_id in ref['ann_ids']):
        raise TypeError(f'ann_ids is {ref["ann_ids"]!r:.60}')
    array('q', (ref['image_id'], *ref['ann_ids']))  # the index holds 64 bits
    if not ref['sentences']:
        raise ValueError(f'ref {ref["ref_id"]} has no sentences')
    for sentence in ref['sentences']:
        if not isinstance(sentence['raw'], str) or not isinstance(sentence['sent_id'], int):
            raise TypeError(f'sentence {sentence!r:.60}')
        sentence['raw'].encode()  # no tokenizer takes half a character


@contextmanager
def no_collection() -> Iterator[None]:
    """Switch off Python's search for cycles, which doubles the time of reading a large JSON file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
