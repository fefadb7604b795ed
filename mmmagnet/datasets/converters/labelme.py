"""A folder of files of LabelMe or X-AnyLabeling, one for each image."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmmagnet.utils.errors import DataError
from mmmagnet.utils.masks import encode_mask

from .layouts import layout_hint
from .objects import image_size
from .own_data import OwnSet, find_field, words_of
from .reading import read_json, short, take, take_name

USUAL = ('expressions', 'description')
MAX_PIXELS = 2**27  # of an image with a mask


def read_labelme(sources: Sequence[tuple[str | None, Path]], images: Path, field: str | None) -> OwnSet:
    """Read folders of LabelMe files.

    Polygons and masks are objects; shapes of one label and ``group_id`` are one object. Boxes, circles, lines and
    points have no outline: they are left out and counted. ``label`` is the category.

    Example:
        >>> found = read_labelme([(None, Path('photographs'))], Path('photographs'), field='label')

    Args:
        sources: Split and folder; None for a folder of which a share becomes val. Folders in it are read, too.
        images: Folder in which all images lie.
        field: Field of a shape with the words, as ``description``, ``label``, ``attributes.said``. A line is an
            expression. None: the first of `USUAL` that has words.

    Raises:
        DataError: If no file is one of LabelMe, one is damaged, or no shape has words.
    """
    found = OwnSet()
    files: list[tuple[str | None, Path, dict[str, Any]]] = []
    for split, folder in sources:
        for path in sorted(folder.rglob('*.json')):
            content = read_json(path, 'label the image again')
            if isinstance(content, dict) and {'shapes', 'imagePath'} <= content.keys():
                for name in [name for name in content if name not in ('shapes', 'imagePath')]:
                    if name not in ('imageWidth', 'imageHeight'):
                        del content[name]  # imageData is the whole image
                files.append((split, path, content))
            else:
                found.skip('JSON files that are not of LabelMe')
    if not files:
        folder = sources[0][1]
        raise DataError(f'{folder}: holds no JSON file of LabelMe{layout_hint(folder)}')
    shapes = [shape for _, path, content in files for shape in _shapes(content, path)]
    field = 'label' if field == 'category' else find_field(shapes, (field,) if field else USUAL, sources[0][1])
    for split, path, content in files:
        image = path.parent / take_name(content, 'imagePath', str(path)).replace('\\', '/')
        if not image.resolve().is_relative_to(images.resolve()):
            raise DataError(f'{path}: field imagePath: {image} is not in {images}: give a folder of all by --images')
        width, height = content.get('imageWidth'), content.get('imageHeight')
        if type(width) is not int or type(height) is not int:
            width, height = image_size(image, str(path))
        objects = _objects(_shapes(content, path), field, (width, height), path, found)
        name = image.resolve().relative_to(images.resolve()).as_posix()
        found.add_image(name, width, height, split, objects, str(path))
    return found


def _shapes(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    shapes = take(content, 'shapes', list, str(path))
    if not all(isinstance(shape, dict) for shape in shapes):
        raise DataError(f'{path}: field shapes is {short(shapes)}; expected a list of dicts')
    return shapes


def _objects(
    shapes: list[dict[str, Any]], field: str, size: tuple[int, int], path: Path, found: OwnSet
) -> list[tuple[Any, str | None, list[str]]]:
    """Outline, category and words of each object."""
    groups: dict[tuple[str, Any], tuple[list[Any], str, list[str]]] = {}
    for number, shape in enumerate(shapes):
        where = f'{path}, shape {number}'
        label, kind = take(shape, 'label', str, where), shape.get('shape_type') or 'polygon'
        if kind not in ('polygon', 'mask'):
            found.skip(f'shapes of the kind {short(kind)}, which has no outline')
            continue
        points = take(shape, 'points', list, where)
        if not all(
            isinstance(point, list) and len(point) == 2 and all(type(each) in (int, float) for each in point)
            for point in points
        ):
            raise DataError(f'{where}: field points is {short(points)}; expected pairs of numbers')
        part = _mask(shape, points, size, where) if kind == 'mask' else [each for point in points for each in point]
        group = shape.get('group_id')
        key = (label, number) if not isinstance(group, (int, str)) else (label, f'group {group}')
        parts, _, words = groups.setdefault(key, ([], label, []))
        parts.append(part)
        words += words_of(shape, field, where)
    return list(groups.values())


def _mask(shape: dict[str, Any], points: list[list[float]], size: tuple[int, int], where: str) -> dict[str, Any]:
    """RLE of a shape that has an image of its box, as LabelMe draws by brush and by AI."""
    text = take(shape, 'mask', str, where)
    width, height = size
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            part = np.array(image.convert('L')) > 0
        left, top = (round(each) for each in points[0])
    except (binascii.Error, OSError, SyntaxError, ValueError, IndexError, OverflowError) as error:
        raise DataError(f'{where}: field mask is damaged ({error}): label the image again') from error
    except Image.DecompressionBombError as error:
        raise DataError(f'{where}: field mask is too large ({error})') from error
    if not (0 < width < 2**16 and 0 < height < 2**16 and width * height <= MAX_PIXELS and left >= 0 and top >= 0):
        raise DataError(f'{where}: field points is {short(points)}; expected a box in the image')
    whole = np.zeros((height, width), bool)
    inside = whole[top : top + part.shape[0], left : left + part.shape[1]]
    inside[...] = part[: inside.shape[0], : inside.shape[1]]
    return encode_mask(whole)
