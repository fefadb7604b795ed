"""Referring sets as MDETR prepared them (an image entry an expression), turned into a prepared folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmmagnet.utils import DataError

from .writing import Conversion, entries, matching_instances, plain_ref, read_json, take, write_set


def convert_mdetr(files: Mapping[str, Path], out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Turn MDETR-style JSON files, one a split, into a prepared folder.

    In them each entry of ``images`` is one expression (``caption``) of one picture (``original_id``), and its
    annotation the object that is meant (``original_id`` its COCO id). Expressions of the same object become one ref.

    Args:
        files: Split -> file.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or an expression has no annotation with a segmentation.
        OSError: If `out` cannot be written or replaced.
    """
    refs: dict[tuple[str, int], dict[str, Any]] = {}
    pictures: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    categories: dict[int, dict[str, Any]] = {}
    count = 0
    for split, path in files.items():
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f'{path}: not a file of MDETR (a {type(content).__name__}): download it again')
        meant = {annotation['image_id']: annotation for annotation in entries(content, 'annotations', path, 'image_id')}
        categories |= {category['id']: category for category in entries(content, 'categories', path)}
        for entry in entries(content, 'images', path):
            where = f'{path}, image {entry["id"]}'
            if entry['id'] not in meant:
                raise DataError(f'{where}: no annotation names it: download the file again')
            annotation = meant[entry['id']]
            about = f'{path}, annotation {annotation["id"]}'
            image_id = take(entry, 'original_id', int, where)
            ann_id = take(annotation, 'original_id', int, about)
            category_id = take(annotation, 'category_id', int, about)
            pictures[image_id] = {
                'id': image_id,
                'file_name': take(entry, 'file_name', str, where),
                'width': take(entry, 'width', int, where),
                'height': take(entry, 'height', int, where),
            }
            annotations[ann_id] = {
                'id': ann_id,
                'image_id': image_id,
                'category_id': category_id,
                'segmentation': annotation.get('segmentation'),
            }
            sentence = {'raw': take(entry, 'caption', str, where), 'sent_id': count}
            count += 1
            ref = refs.setdefault(
                (split, ann_id),
                {
                    'ref_id': len(refs),
                    'image_id': image_id,
                    'ann_ids': [ann_id],
                    'category_id': category_id,
                    'split': split,
                    'sentences': [],
                },
            )
            ref['sentences'].append(sentence)
    if not refs:
        raise DataError(f'{next(iter(files.values()), "no file")}: holds no expressions: give files of MDETR')
    plain, blank = [], 0
    first = next(iter(files.values()))
    for ref in refs.values():
        made, left_out = plain_ref(
            ref, ref['ann_ids'], ref['category_id'], ref['sentences'], f'{first}, ref {ref["ref_id"]}'
        )
        plain.append(made)
        blank += left_out
    whole = {
        'images': list(pictures.values()),
        'annotations': list(annotations.values()),
        'categories': list(categories.values()),
    }
    return write_set(plain, matching_instances(whole, first, plain, first), out, images, overwrite, blank)


def split_of(path: Path) -> str:
    """The split that the name of a file tells, as ``finetune_refcoco_testA.json`` does.

    Raises:
        DataError: If it does not.
    """
    split = path.stem.rpartition('_')[2]
    if split not in ('train', 'val', 'test', 'testA', 'testB', 'minival'):
        raise DataError(f'{path}: its name does not end in a split: give SPLIT=FILE')
    return split
