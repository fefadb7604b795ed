"""Referring sets as MDETR prepared them (an image entry an expression), turned into a prepared folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .output import Conversion, entries, matching_instances, plain_ref, read_json, take, write_set


def convert_mdetr(files: Mapping[str, Path], out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Turn MDETR-style JSON files, one a split, into a prepared folder.

    In them each entry of ``images`` is one expression (``caption``) of one image (``original_id``), and its
    annotation the object that is meant (``original_id`` its COCO id; where no annotation has one [R], those with the
    same outline on an image are one object, and objects are numbered). Expressions of the same object become one ref.

    Args:
        files: Split -> file.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or an expression has not one annotation with a segmentation.
        OSError: If `out` cannot be written or replaced.
    """
    records: dict[tuple[str, int], dict[str, Any]] = {}
    image_entries: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    categories: dict[int, dict[str, Any]] = {}
    numbers: dict[tuple[int, str], int] = {}
    have_ids: set[bool] = set()
    count = 0
    for split, path in files.items():
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f'{path}: not a file of MDETR (a {type(content).__name__}): download it again')
        categories |= {category['id']: category for category in entries(content, 'categories', path)}
        for where, entry, about, annotation in _pairs(content, path):
            image_id = take(entry, 'original_id', int, where)
            size = {name: take(entry, name, int, where) for name in ('width', 'height')}
            image_entries[image_id] = {'id': image_id, 'file_name': take(entry, 'file_name', str, where), **size}
            have_ids.add('original_id' in annotation)
            if len(have_ids) > 1:
                raise DataError(f'{about}: field original_id is in some annotations only: download the file again')
            if 'original_id' in annotation:
                ann_id = take(annotation, 'original_id', int, about)
            else:
                outline = json.dumps(annotation['segmentation'])
                ann_id = numbers.setdefault((image_id, outline), len(numbers))
            made = {
                'id': ann_id,
                'image_id': image_id,
                'category_id': take(annotation, 'category_id', int, about),
                'segmentation': annotation['segmentation'],
            }
            if annotations.setdefault(ann_id, made)['image_id'] != image_id:
                raise DataError(
                    f'{about}: field original_id: {ann_id} is on another image, too: download the file again'
                )
            record = records.setdefault(
                (split, ann_id),
                {'ref_id': len(records), 'image_id': image_id, 'split': split, 'where': where, 'sentences': []},
            )
            record['sentences'].append({'raw': take(entry, 'caption', str, where), 'sent_id': count})
            count += 1
    if not records:
        raise DataError(f'{next(iter(files.values()), "no file")}: holds no expressions: give files of MDETR')
    refs, blank = [], 0
    for (_, ann_id), record in records.items():
        category_id, where = annotations[ann_id]['category_id'], record['where']
        ref, left_out = plain_ref(record, [ann_id], category_id, record['sentences'], where)
        refs.append(ref)
        blank += left_out
    whole = {
        'images': list(image_entries.values()),
        'annotations': list(annotations.values()),
        'categories': list(categories.values()),
    }
    first = next(iter(files.values()))
    return write_set(refs, matching_instances(whole, first, refs, first), out, images, overwrite, blank)


def split_of(path: Path) -> str:
    """The split that the name of a file tells, as ``finetune_refcoco_testA.json`` does.

    Raises:
        DataError: If it does not.
    """
    split = path.stem.rpartition('_')[2]
    if split not in ('train', 'val', 'test', 'testA', 'testB', 'minival'):
        raise DataError(f'{path}: its name does not end in a split: give SPLIT=FILE')
    return split


def _pairs(content: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Each expression with the one annotation of it, which has a segmentation; before both, where they are."""
    meant: dict[int, dict[str, Any]] = {}
    for annotation in entries(content, 'annotations', path, 'image_id'):
        if meant.setdefault(annotation['image_id'], annotation) is not annotation:
            # which one is meant cannot be told, and the wrong one would be a wrong mask
            raise DataError(
                f'{path}, image {annotation["image_id"]}: has more than one annotation: download the file again'
            )
    for entry in entries(content, 'images', path):
        where = f'{path}, image {entry["id"]}'
        if entry['id'] not in meant:
            raise DataError(f'{where}: no annotation names it: download the file again')
        annotation = meant[entry['id']]
        about = f'{path}, annotation {annotation["id"]}'
        if not isinstance(annotation.get('segmentation'), (list, dict)):
            raise DataError(f'{about}: field segmentation is missing: a box is no mask, give files with outlines')
        yield where, entry, about, annotation
