"""People's own COCO JSON, whose annotations carry words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .layouts import layout_hint
from .objects import image_size
from .own_data import OwnSet, find_field, words_of
from .reading import entries, read_json, take, take_name

USUAL = ('expressions', 'caption', 'description')


def read_coco(sources: Sequence[tuple[str | None, Path]], images: Path, field: str | None) -> OwnSet:
    """Read COCO JSON files.

    Annotations without an outline are left out and counted. Images are found by their ``file_name`` in `images`, or
    beside the JSON file where that lies in it.

    Example:
        >>> found = read_coco([(None, Path('mine.json'))], Path('photographs'), field='caption')

    Args:
        sources: Split and file; None for a file of which a share becomes val.
        images: Folder of the images.
        field: Field of an annotation with the words: a text, or a list. Dots lead into records, as ``attributes.said``;
            ``category`` takes the names of the categories. None: the first of `USUAL` that has words.

    Raises:
        DataError: If a file is missing or damaged, or no annotation has words.
    """
    found = OwnSet()
    every: list[dict[str, Any]] = []
    for split, path in sources:
        content = read_json(path, 'give a COCO JSON file')
        lacks = [name for name in ('images', 'annotations') if not isinstance(content, dict) or name not in content]
        if lacks:
            hint = layout_hint(path, content) or f': it lacks {" and ".join(lacks)}'
            raise DataError(f'{path}: not COCO JSON{hint}')
        if not content['images']:
            raise DataError(f'{path}: field images is empty: give a file with images and their annotations')
        annotations = entries(content, 'annotations', path, 'image_id')
        every += annotations
        names = {entry['id']: entry.get('name') for entry in entries({'categories': [], **content}, 'categories', path)}
        of_image: dict[int, list[dict[str, Any]]] = {}
        for ann in annotations:
            of_image.setdefault(ann['image_id'], []).append(ann)
        field_here = field or find_field(annotations, USUAL, path)
        for entry in entries(content, 'images', path):
            where = f'{path}, image {entry["id"]}'
            file_name = _place(take_name(entry, 'file_name', where), path, images)
            if isinstance(entry.get('width'), int) and isinstance(entry.get('height'), int):
                width, height = take(entry, 'width', int, where), take(entry, 'height', int, where)
            else:
                width, height = image_size(images / file_name, where)
            objects = []
            for ann in of_image.pop(entry['id'], []):
                about = f'{path}, annotation {ann["id"]}'
                category = names.get(ann.get('category_id')) if isinstance(ann.get('category_id'), int) else None
                if not isinstance(category, str):
                    category = None
                words = words_of({'category': category} if field_here == 'category' else ann, field_here, about)
                outline = ann.get('segmentation')
                if isinstance(outline, list) and outline and not isinstance(outline[0], (list, dict)):
                    outline = [outline]  # one polygon, as some tools write it
                if not outline or not isinstance(outline, (list, dict)):
                    found.skip('annotations without an outline')
                    continue
                objects.append((outline, category, words))
            found.add_image(file_name, width, height, split, objects, where)
        for image_id, lost in of_image.items():
            raise DataError(f'{path}, annotation {lost[0]["id"]}: field image_id: there is no image {image_id}')
    if field and field != 'category':
        find_field(every, (field,), sources[0][1])
    return found


def _place(file_name: str, path: Path, images: Path) -> str:
    """Name of an image in the folder of images: as it is told, or beside the JSON file."""
    beside = path.parent / file_name
    if not (images / file_name).is_file() and beside.is_file() and beside.resolve().is_relative_to(images.resolve()):
        return beside.resolve().relative_to(images.resolve()).as_posix()
    return file_name
