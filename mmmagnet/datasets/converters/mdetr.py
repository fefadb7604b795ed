"""Sets as MDETR prepared them: one image entry for each expression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint
from .output import Conversion, RefTable, write_set
from .reading import entries, read_json, take


def convert_mdetr(
    files: Mapping[str, Path], out: Path, images: Path, overwrite: bool = False, instances: Path | None = None
) -> Conversion:
    """Convert MDETR-style JSON files, one for each split, to a prepared folder.

    Each entry of ``images`` is one expression (``caption``) of one image (``original_id``). Its annotation is the
    object, with ``original_id`` as its COCO id. The published files have no outlines: `instances` has them. Expressions
    of the same object become one ref. The text is REFER's cleaned ``sent``.

    Without `instances` the annotations need a ``segmentation``.

    Example:
        >>> files = {'val': Path('finetune_refcoco_val.json')}
        >>> convert_mdetr(files, Path('data/refcoco_unc'), Path('train2014'), instances=Path('refcoco/instances.json'))

    Args:
        files: Split -> file.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.
        instances: COCO's or REFER's file of instances, joined by ``original_id``.

    Raises:
        DataError: If a file is missing or damaged, or an expression has not one annotation with a segmentation.
        OSError: If `out` cannot be written or replaced.
    """
    records: dict[tuple[str, int], dict[str, Any]] = {}
    image_entries: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    categories: dict[int, dict[str, Any]] = {}
    whole = None if instances is None else read_json(instances)
    count = 0
    for split, path in files.items():
        content = read_json(path)
        if not isinstance(content, dict) or 'images' not in content or 'annotations' not in content:
            fix = layout_hint(path, content) or f' (a {type(content).__name__}): download it again'
            raise DataError(f"{path}: not a file of MDETR's layout{fix}")
        if content['images'] and layout_hint(path, content) and not _has_expressions(content):
            raise DataError(f"{path}: not a file of MDETR's layout{layout_hint(path, content)}")
        categories |= {category['id']: category for category in entries(content, 'categories', path)}
        for where, entry, about, annotation in _pairs(content, path):
            image_id = take(entry, 'original_id', int, where)
            size = {name: take(entry, name, int, where) for name in ('width', 'height')}
            image_entries[image_id] = {'id': image_id, 'file_name': take(entry, 'file_name', str, where), **size}
            outline = annotation.get('segmentation')
            if whole is None and not isinstance(outline, (list, dict)):
                raise DataError(
                    f"{about}: field segmentation is missing, as in the published files: a box is no mask, give COCO's "
                    "or REFER's instances.json by --instances"
                )
            ann_id = take(annotation, 'original_id', int, about)
            category_id = take(annotation, 'category_id', int, about)
            made = {'id': ann_id, 'image_id': image_id, 'category_id': category_id, 'segmentation': outline}
            if annotations.setdefault(ann_id, made)['image_id'] != image_id:
                raise DataError(
                    f'{about}: field original_id: {ann_id} is on another image, too: download the file again'
                )
            record = records.setdefault(
                (split, ann_id),
                {'ref_id': len(records), 'image_id': image_id, 'split': split, 'where': where, 'sentences': []},
            )
            record['sentences'].append({'sent': take(entry, 'caption', str, where), 'sent_id': count})
            count += 1
    if not records:
        raise DataError(f'{next(iter(files.values()), "no file")}: holds no expressions: give files of MDETR')
    table = RefTable()
    for (_, ann_id), record in records.items():
        table.add(record, [ann_id], annotations[ann_id]['category_id'], record['sentences'], record['where'])
    if whole is None:
        whole = {
            'images': list(image_entries.values()),
            'annotations': list(annotations.values()),
            'categories': list(categories.values()),
        }
    first = next(iter(files.values()))
    return write_set(table, whole, (first, instances or first), out, images, overwrite)


def _has_expressions(content: dict[str, Any]) -> bool:
    """Whether the first image has a field that COCO's have not."""
    first = content['images'][0] if isinstance(content['images'], list) else None
    return not isinstance(first, dict) or bool({'caption', 'original_id'} & first.keys())


def files_by_split(given: Sequence[str]) -> dict[str, Path]:
    """Split -> file, of names like ``testA=FILE`` or ``finetune_refcoco_testA.json``.

    Raises:
        DataError: If a name tells no split, or two have the same one.
    """
    files: dict[str, Path] = {}
    for name in given:
        split, named, file = name.partition('=')
        path = Path(file)
        if not named or Path(name).is_file():
            path = Path(name)
            split = path.stem.rpartition('_')[2]
            if split not in ('train', 'val', 'test', 'testA', 'testB', 'minival'):
                raise DataError(f'{path}: its name does not end in a split: give SPLIT=FILE')
        if split in files:
            raise DataError(f'{path}: a second file of the split {split}, after {files[split]}')
        files[split] = path
    return files


def _pairs(content: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Each expression and its one annotation; before both, where they are."""
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
        yield where, entry, f'{path}, annotation {annotation["id"]}', annotation
