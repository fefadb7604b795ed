"""Sets whose sources have no ids: images, objects and refs are numbered as they come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmmagnet.utils.errors import DataError

from .output import Conversion, RefTable, write_set


class ObjectSet:
    """Images, objects and expressions of a set, numbered in the order of their coming.

    Equal outlines on an image are one object, and the expressions of a split for the same objects are one ref.

    Example:
        >>> found = ObjectSet()
        >>> image_id = found.image('cups.jpg', 640, 480, 'mine.csv, row 1')
        >>> cup = found.object(image_id, [[10, 10, 60, 10, 60, 80]], 'cup')
        >>> found.express('train', image_id, [cup], [dict(raw='the left cup')], 'mine.csv, row 1')
        >>> found.write(Path('mine.csv'), Path('data/mine'), Path('photographs'))

    Attributes:
        images: File name -> entry of COCO's ``images``.
        annotations: Entries of COCO's ``annotations``.
    """

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.annotations: list[dict[str, Any]] = []
        self._objects: dict[tuple[int, str], int] = {}
        self._categories: dict[str, int] = {}
        self._refs: dict[tuple[str, int, tuple[int, ...]], dict[str, Any]] = {}
        self._sentences = 0

    def image(self, file_name: str, width: int, height: int, where: str) -> int:
        """Number of an image, new or not; the set that is written has COCO's id for it where all names tell one.

        Raises:
            DataError: If it came with another size before.
        """
        size = {'width': width, 'height': height}
        entry = self.images.setdefault(file_name, {'id': len(self.images), 'file_name': file_name, **size})
        if (entry['width'], entry['height']) != (width, height):
            raise DataError(
                f'{where}: {file_name} is {width} x {height} here and {entry["width"]} x {entry["height"]} before: '
                'fix the sizes'
            )
        return entry['id']

    def object(self, image_id: int, outline: Any, category: str | None = None) -> int:
        """Id of an object, new or not, by its image and its polygons or RLE."""
        ann_id = self._objects.setdefault((image_id, json.dumps(outline)), len(self._objects))
        if ann_id == len(self.annotations):
            made: dict[str, Any] = {'id': ann_id, 'image_id': image_id, 'segmentation': outline}
            if category is not None:
                made['category_id'] = self._categories.setdefault(category, len(self._categories) + 1)
            self.annotations.append(made)
        return ann_id

    def express(
        self, split: str, image_id: int, ann_ids: Iterable[int], sentences: Iterable[dict[str, Any]], where: str
    ) -> None:
        """Add expressions for objects of an image.

        Args:
            split: Of the image.
            image_id: As `image` gave it.
            ann_ids: As `object` gave them; none for what is not in the image.
            sentences: Dicts with ``raw``, ``sent`` or both.
            where: For messages.
        """
        key = (split, image_id, tuple(sorted(set(ann_ids))))
        ref = self._refs.setdefault(key, {'where': where, 'sentences': []})
        for sentence in sentences:
            ref['sentences'].append({'sent_id': self._sentences, **sentence})
            self._sentences += 1

    def write(self, source: Path, out: Path, images: Path, overwrite: bool = False) -> Conversion:
        """Write the set as a prepared folder.

        Args:
            source: File of the expressions, for messages.
            out: The prepared folder.
            images: Folder of the images.
            overwrite: Replace a prepared folder that is there.

        Raises:
            DataError: If nothing can be used.
            OSError: If `out` cannot be written or replaced.
        """
        numbers = self._image_numbers()
        category = {ann['id']: ann.get('category_id') for ann in self.annotations}
        table = RefTable()
        for ref_id, ((split, image_id, ann_ids), ref) in enumerate(self._refs.items()):
            kinds = {category[ann_id] for ann_id in ann_ids}
            record = {'ref_id': ref_id, 'image_id': numbers[image_id], 'split': split}
            only = kinds.pop() if len(kinds) == 1 else None
            table.add(record, list(ann_ids), only, ref['sentences'], ref['where'])
        content = {
            'images': [{**image, 'id': numbers[image['id']]} for image in self.images.values()],
            'annotations': [{**ann, 'image_id': numbers[ann['image_id']]} for ann in self.annotations],
            'categories': [{'id': number, 'name': name} for name, number in self._categories.items()],
        }
        return write_set(table, content, (source, source), out, images, overwrite)

    def _image_numbers(self) -> dict[int, int]:
        """Id -> number of its name where all are named as COCO's, so that mixed sets find images that they share."""
        found = [re.search(r'(?:^|_)(\d{12})\.\w+$', name) for name in self.images]
        numbers = [int(each[1]) for each in found if each]
        if len(set(numbers)) == len(self.images):
            return dict(enumerate(numbers))
        return {number: number for number in range(len(self.images))}


def image_size(path: Path, where: str) -> tuple[int, int]:
    """Width and height of an image file, without turning by EXIF.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError as error:
        raise DataError(f'{where}: {path}: no such image') from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f'{where}: {path}: cannot be read as an image ({error})') from error


def read_mask(path: Path, where: str) -> np.ndarray:
    """The pixels of a mask image, (H, W); of a palette image the indices.

    Raises:
        DataError: If it cannot be read or has colors.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ('RGB', 'RGBA', 'LA'):
                channels = np.array(image.convert('RGB'))
                if (channels != channels[..., :1]).any():
                    raise DataError(f'{where}: {path}: has colors: save the mask in black and white')
                return channels[..., 0]
            return np.array(image)
    except FileNotFoundError as error:
        raise DataError(f'{where}: {path}: no such mask') from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f'{where}: {path}: cannot be read as an image ({error})') from error
