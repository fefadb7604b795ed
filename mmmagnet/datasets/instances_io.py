"""Images and objects of a prepared folder, by their ids."""

from __future__ import annotations

from array import array
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from mmmagnet.utils.errors import DataError

from .indexed_file import IndexedFile
from .json_arrays import array_elements
from .refs_io import Refs

DAMAGE = (ValueError, TypeError, OverflowError, RecursionError)


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


class Instances(IndexedFile):
    """The images and objects of ``instances.json``, read one by one.

    Args:
        path: ``instances.json``.
        stamp: Size and time that the file must have. Default: any.

    Raises:
        DataError: If the file is missing or damaged.

    Example:
        >>> instances = Instances(Path('data/refcoco_unc/instances.json'))
        >>> instances.image(581857)
        ('COCO_train2014_000000581857.jpg', 640, 427)
    """

    missing = 'is missing; convert the set again'

    def scan(self) -> dict[str, np.ndarray]:
        """Read the whole file once, piece by piece."""
        found = {
            name: array('b' if name.endswith('sound') else 'q') for part in ('image', 'ann') for name in _columns(part)
        }
        objects = array('q'), array('q')
        try:
            for name, first, size, entry in array_elements(self.path, ('images', 'annotations')):
                part, parse = ('image', _image) if name == 'images' else ('ann', _annotation)
                number = entry['id'] if part == 'image' else entry.get('id')
                if _is_id(number):  # no ref can name another
                    for column, value in zip(_columns(part), (number, first, size, _sound(parse, entry)), strict=True):
                        found[column].append(value)
                if part == 'ann' and (not entry.get('iscrowd') or entry['iscrowd'] == '0.0'):
                    pair = entry.get('image_id'), entry.get('category_id')
                    if all(map(_is_id, pair)):
                        objects[0].append(pair[0])
                        objects[1].append(pair[1])
        except KeyError as error:
            raise self._lacks(error) from error
        except (AttributeError, *DAMAGE) as error:
            raise self._damaged(error) from error
        columns: dict[str, np.ndarray] = {}
        for part in ('image', 'ann'):
            order = np.argsort(np.asarray(found[f'{part}_id']), kind='stable')
            columns |= {name: np.asarray(found[name])[order] for name in _columns(part)}
        image, category = map(np.asarray, objects)
        order = np.lexsort((category, image))
        return columns | {'object_image': image[order], 'object_category': category[order]}

    def image(self, image_id: int) -> tuple[str, int, int]:
        """File name, width and height (pixels) of an image.

        Raises:
            DataError: If it lacks them.
        """
        return self._read('image', _image, image_id)

    def annotation(self, ann_id: int) -> Annotation:
        """Outline and category of an object.

        Raises:
            DataError: If it lacks an outline, or its category is not a number.
        """
        return self._read('ann', _annotation, ann_id)

    def count_distractors(self, image_id: int, own: Collection[Annotation]) -> int | None:
        """Number of other objects of the categories of `own` in an image, crowds left out.

        Args:
            image_id: The image.
            own: The objects that are meant, each once.

        Returns:
            The number, or None if no category is known.
        """
        categories = {ann.category_id for ann in own if ann.category_id is not None}
        if not categories:
            return None
        images = self.columns['object_image']
        first, end = images.searchsorted(image_id, 'left'), images.searchsorted(image_id, 'right')
        alike = sum(category in categories for category in self.columns['object_category'][first:end].tolist())
        return alike - sum(not ann.crowd and ann.category_id is not None for ann in own)

    def require(self, refs: Refs, rows: np.ndarray) -> None:
        """Check that the images and objects of some refs are there.

        Args:
            refs: Refs of the folder.
            rows: Numbers of the refs, ascending.

        Raises:
            DataError: If the file lacks an image or object, or it is damaged.
        """
        chosen = np.zeros(len(refs.image_id), bool)
        chosen[rows] = True
        owner = np.repeat(np.arange(len(chosen)), np.diff(refs.columns['object_start']))
        ann_ids, owner = refs.columns['objects'][chosen[owner]], owner[chosen[owner]]
        image_ids = refs.image_id[rows]
        absent = []
        for part, read, ids in (('image', self.image, image_ids), ('ann', self.annotation, ann_ids)):
            places, found = self._find(part, ids)
            flawed = ids[found][self.columns[f'{part}_sound'][places[found]] == 0]
            for number in flawed.tolist():
                read(number)  # raises what is wrong with it, if it is
            absent.append((rows if part == 'image' else owner)[~found])
        if not any(map(len, absent)):
            return
        row = min(int(rows_of.min()) for rows_of in absent if rows_of.size)
        ref = refs.read(row)
        unknown = [ann_id for ann_id in ref['ann_ids'] if not self._find('ann', ann_id)[1]]
        what = f'annotation {unknown[0]}' if unknown else f'image {ref["image_id"]}'
        raise DataError(f'{self.path}: has no {what}, which ref {ref["ref_id"]} names; convert the set again')

    def _find(self, part: str, wanted: Any) -> tuple[Any, Any]:
        """Places of ids in the columns, and whether they are there; of several with one id the last."""
        ids = self.columns[f'{part}_id']
        places = ids.searchsorted(wanted, 'right') - 1
        return places, (ids[places] == wanted if ids.size else np.zeros(np.shape(wanted), bool))

    def _read(self, part: str, parse: Any, number: int) -> Any:
        place, found = self._find(part, number)
        if not found:
            raise self.changed()
        entry = self.record(int(self.columns[f'{part}_first'][place]), int(self.columns[f'{part}_size'][place]))
        if not isinstance(entry, dict) or entry.get('id') != number:
            raise self.changed()
        try:
            return parse(entry)
        except KeyError as error:
            raise self._lacks(error) from error
        except DAMAGE as error:
            raise self._damaged(error) from error

    def _lacks(self, error: KeyError) -> DataError:
        return DataError(f'{self.path}: field {error} is missing; convert the set again')

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f'{self.path}: not COCO instances ({error}); convert the set again')


def _columns(part: str) -> list[str]:
    return [f'{part}_{name}' for name in ('id', 'first', 'size', 'sound')]


def _is_id(number: Any) -> bool:
    return isinstance(number, int) and number.bit_length() < 64


def _sound(parse: Any, entry: dict) -> bool:
    try:
        parse(entry)
    except (KeyError, *DAMAGE):
        return False
    return True


def _image(entry: dict) -> tuple[str, int, int]:
    return str(entry['file_name']), int(entry['width']), int(entry['height'])


def _annotation(entry: dict) -> Annotation:
    category_id = entry.get('category_id')
    if category_id is not None and not isinstance(category_id, int):
        raise TypeError(f'category_id is {category_id!r:.60}')
    return Annotation(entry['segmentation'], category_id, bool(entry.get('iscrowd')))
