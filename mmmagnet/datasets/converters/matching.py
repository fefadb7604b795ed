"""The instances that belong to refs, and the refs that can be used with them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from ..verification.outlines import check_outlines
from .reading import entries, short, take, take_name

DAMAGED_SHARE = 0.01
"""Share of refs whose objects may be missing or damaged: with more of them the files are not of one set."""


def matching_instances(
    content: Any, path: Path, refs: list[dict[str, Any]], refs_file: Path, skipped: Counter[str]
) -> tuple[dict[str, list], list[dict[str, Any]]]:
    """The images of the refs and all annotations on them, since other objects are distractors.

    Args:
        content: Of an instances file.
        path: Where it is from, for messages.
        refs: Lines of ``refs.jsonl``.
        refs_file: Where they are from, for messages.
        skipped: Counts the refs that are left out, by reason.

    Returns:
        The instances, and the refs that can be used.

    Raises:
        DataError: If a field is missing, or more than a few refs name what is not there or damaged.
    """
    if not isinstance(content, dict):
        raise DataError(f'{path}: not COCO instances (a {type(content).__name__}): download it again')
    image_ids = {ref['image_id'] for ref in refs}
    images = [image for image in entries(content, 'images', path) if image['id'] in image_ids]
    annotations = [
        _unwrapped(ann) for ann in entries(content, 'annotations', path, 'image_id') if ann['image_id'] in image_ids
    ]
    for image in images:
        where = f'{path}, image {image["id"]}'
        take_name(image, 'file_name', where)
        for name in ('width', 'height'):
            if not 0 < take(image, name, int, where) < 2**16:
                raise DataError(f'{where}: field {name} is {short(image[name])}: download the file again')
    for ann in annotations:
        if 'category_id' in ann:
            take(ann, 'category_id', int, f'{path}, annotation {ann["id"]}')
    kept = _usable(refs, refs_file, images, annotations, path, skipped)
    return {'images': images, 'annotations': annotations, 'categories': entries(content, 'categories', path)}, kept


def _unwrapped(ann: dict[str, Any]) -> dict[str, Any]:
    """An annotation with one RLE instead of a list that holds it, and its category under COCO's name."""
    outline = ann.get('segmentation')
    if isinstance(outline, list) and len(outline) == 1 and isinstance(outline[0], dict):
        ann = {**ann, 'segmentation': outline[0]}
    if 'categories_id' in ann and 'category_id' not in ann:  # as RRSIS-D has it
        ann = {**ann, 'category_id': ann['categories_id']}
    return ann


def _usable(
    refs: list[dict[str, Any]],
    refs_file: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    path: Path,
    skipped: Counter[str],
) -> list[dict[str, Any]]:
    sizes = {image['id']: (image['width'], image['height']) for image in images}
    image_of = {ann['id']: ann['image_id'] for ann in annotations}
    outlines = {
        ann['id']: ann['segmentation'] for ann in annotations if isinstance(ann.get('segmentation'), list | dict)
    }
    named = {ann_id for ref in refs for ann_id in ref['ann_ids']}
    checked = [ann_id for ann_id in outlines if ann_id in named and image_of[ann_id] in sizes]
    check = check_outlines([outlines[key] for key in checked], [sizes[image_of[key]] for key in checked])
    damaged = {checked[position]: why for position, why in check.damaged.items()}
    empty = {checked[position] for position in check.empty}

    def trouble(ref: dict[str, Any]) -> tuple[str, str] | None:
        """Why a ref is left out, and the message where too many are."""
        where = f'{refs_file}, ref {ref["ref_id"]}'
        if ref['image_id'] not in sizes:
            why = f'{path} has no image {ref["image_id"]}: use files of one set'
            return 'their image is not in the instances', f'{where}: field image_id: {why}'
        for ann_id in ref['ann_ids']:
            if image_of.get(ann_id) != ref['image_id']:
                why = f'{path} has no annotation {ann_id} on image {ref["image_id"]}: use files of one set'
                return 'their annotation is not in the instances', f'{where}: field ann_id: {why}'
            about = f'{path}, annotation {ann_id}: field segmentation'
            if ann_id not in outlines:
                return 'no segmentation', f'{about} is missing: download the file again'
            if ann_id in damaged:
                return 'damaged segmentation', f'{about} is damaged ({damaged[ann_id]}): download the file again'
        return None

    kept, first, lost = [], '', Counter[str]()
    for ref in refs:
        found = trouble(ref)
        if found is not None:
            lost[found[0]] += 1
            first = first or found[1]
        elif ref['ann_ids'] and empty.issuperset(ref['ann_ids']):
            skipped['a mask without pixels'] += 1
        else:
            kept.append(ref)
    if lost.total() > DAMAGED_SHARE * len(refs):
        raise DataError(first)
    skipped.update(lost)
    return kept
