"""Reading a prepared folder: ``refs.jsonl`` line by line, and of ``instances.json`` what some refs need."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mmmagnet.utils.errors import DataError


class Annotation(NamedTuple):
    """Outline and category of an object.

    Attributes:
        segmentation: Polygons or RLE.
        category_id: Number of its category, None where the file has none.
        crowd: Whether one outline surrounds several objects.
    """

    segmentation: Any
    category_id: int | None
    crowd: bool


class Instances(NamedTuple):
    """Images and objects of some refs.

    Attributes:
        images: File name, width and height (pixels) by id.
        annotations: Objects that the refs name, by id.
        objects: Number of objects by image and category, crowds left out; empty unless asked for.
    """

    images: dict[int, tuple[str, int, int]]
    annotations: dict[int, Annotation]
    objects: Counter[tuple[int, int]]


def read_refs(path: Path, split: str | None = None, whole: bool = False) -> Iterator[dict]:
    """Refs of a prepared folder, of all splits; each has a checked `split` and `image_id`.

    Args:
        path: ``refs.jsonl``.
        split: Split whose refs are checked whole.
        whole: Check the refs of every split whole.

    Raises:
        DataError: If the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(
            f'{path}: no prepared set there; write it with tools/dataset_converters/refer.py (or synthetic.py), '
            'or give its folder as data_root'
        )
    with path.open('rb') as lines:
        for number, line in enumerate(lines, start=1):
            try:
                ref = json.loads(line)
                if not isinstance(ref['split'], str) or not isinstance(ref['image_id'], int):
                    raise TypeError(f'split is {ref["split"]!r:.60}, image_id is {ref["image_id"]!r:.60}')
                if whole or ref['split'] == split:
                    _check_ref(ref)
            except KeyError as error:
                raise DataError(f'{path}, line {number}: field {error} is missing; convert the set again') from error
            except (ValueError, TypeError, RecursionError) as error:
                raise DataError(f'{path}, line {number}: not a ref ({error}); convert the set again') from error
            yield ref


def read_instances(path: Path, refs: list[dict], count_objects: bool) -> Instances:
    """Read the images and objects of some refs.

    Args:
        path: ``instances.json``.
        refs: Refs from `read_refs`.
        count_objects: Count all objects, for `count_distractors`.

    Raises:
        DataError: If the file is missing or damaged, or lacks an image or object of a ref.
    """
    if not path.is_file():
        raise DataError(f'{path}: is missing; convert the set again')
    image_ids = {ref['image_id'] for ref in refs}
    ann_ids = {ann_id for ref in refs for ann_id in ref['ann_ids']}
    objects: Counter[tuple[int, int]] = Counter()

    def needed(entry: dict) -> dict | None:  # the others are gone before the file is read to its end
        if count_objects and 'category_id' in entry and 'image_id' in entry and not entry.get('iscrowd'):
            objects[entry['image_id'], entry['category_id']] += 1
        return None if 'segmentation' in entry and entry.get('id') not in ann_ids else entry

    try:
        with no_collection():
            content = json.loads(path.read_text(encoding='utf-8'), object_hook=needed)
        images = {
            image['id']: (str(image['file_name']), int(image['width']), int(image['height']))
            for image in content['images']
            if image['id'] in image_ids
        }
        annotations = {
            ann['id']: Annotation(ann['segmentation'], _category(ann), bool(ann.get('iscrowd')))
            for ann in content['annotations']
            if ann and ann['id'] in ann_ids
        }
    except KeyError as error:
        raise DataError(f'{path}: field {error} is missing; convert the set again') from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f'{path}: not COCO instances ({error}); convert the set again') from error
    for ref in refs:
        unknown = [ann_id for ann_id in ref['ann_ids'] if ann_id not in annotations]
        if unknown or ref['image_id'] not in images:
            what = f'annotation {unknown[0]}' if unknown else f'image {ref["image_id"]}'
            raise DataError(f'{path}: has no {what}, which ref {ref["ref_id"]} names; convert the set again')
    return Instances(images, annotations, objects)


def _category(ann: dict) -> int | None:
    """Number of an annotation's category, or None; raises TypeError for anything else."""
    category_id = ann.get('category_id')
    if category_id is not None and not isinstance(category_id, int):
        raise TypeError(f'category_id is {category_id!r:.60}')
    return category_id


def count_distractors(ref: dict, instances: Instances) -> int | None:
    """Number of other objects of a ref's category in its image, crowds left out; None if no category is known."""
    own = [instances.annotations[ann_id] for ann_id in set(ref['ann_ids'])]
    categories = {ann.category_id for ann in own if ann.category_id is not None}
    if not categories:
        return None
    alike = sum(instances.objects[ref['image_id'], category_id] for category_id in categories)
    return alike - sum(not ann.crowd and ann.category_id is not None for ann in own)


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


def _check_ref(ref: dict) -> None:
    """Raise KeyError, TypeError or ValueError unless a line has the fields of a ref."""
    for field, kind in (('ref_id', int), ('image_id', int), ('ann_ids', list), ('sentences', list)):
        if not isinstance(ref[field], kind):
            raise TypeError(f'{field} is {ref[field]!r:.60}')
    if not all(isinstance(ann_id, int) for ann_id in ref['ann_ids']):
        raise TypeError(f'ann_ids is {ref["ann_ids"]!r:.60}')
    if not ref['sentences']:
        raise ValueError(f'ref {ref["ref_id"]} has no sentences')
    for sentence in ref['sentences']:
        if not isinstance(sentence['raw'], str) or not isinstance(sentence['sent_id'], int):
            raise TypeError(f'sentence {sentence!r:.60}')
        sentence['raw'].encode()  # no tokenizer takes half a character
