"""Outlines of objects, checked without drawing most of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ..transforms.load_mask import checked_runs, has_area, split_outlines

_LONG = 1_000_000  # pixels; drawing an outline costs memory by its length


@dataclass
class OutlineCheck:
    """What is wrong with outlines, by their position in the list.

    Attributes:
        damaged: What is wrong with those that are neither polygons nor RLE of the size of their image.
        empty: Those that have no pixels.
        outside: Those with a polygon that leaves the image by more than a pixel.
    """

    damaged: dict[int, str] = field(default_factory=dict)
    empty: list[int] = field(default_factory=list)
    outside: list[int] = field(default_factory=list)


def check_outlines(segmentations: list[Any], sizes: list[tuple[int, int]]) -> OutlineCheck:
    """Check COCO segmentations, by the same rules as the mask loader.

    Only shapes that are thin or leave the image are drawn, to see whether they have pixels.

    Example:
        >>> check_outlines([[[1, 1, 5, 1, 5, 5]], [[1, 1, 5, 5]]], [(12, 10)] * 2).empty
        [1]

    Args:
        segmentations: Each a list of polygons [x1, y1, x2, y2 ...], an RLE, or a list of RLEs.
        sizes: Width and height of the image of each.
    """
    check = OutlineCheck()
    solid: set[int] = set()
    polygons: list[np.ndarray] = []
    owners: list[int] = []
    for position, (segmentation, (width, height)) in enumerate(zip(segmentations, sizes, strict=True)):
        try:
            given, rles = split_outlines(segmentation)
            shapes = [np.array(polygon, float).reshape(-1, 2) for polygon in given if has_area(polygon)]
            covered = [any(checked_runs(rle, height, width)[1::2]) for rle in rles]
            polygons += shapes
            owners += [position] * len(shapes)
            if any(covered):
                solid.add(position)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            check.damaged[position] = f'{type(error).__name__}: {error}'
    if polygons:
        within, full, lengths = _measure(polygons, np.array([sizes[position] for position in owners], float))
        for number in np.flatnonzero(lengths > _LONG):
            check.damaged[owners[number]] = f'an outline of {lengths[number]:.0f} pixels'
        solid.update(owners[number] for number in np.flatnonzero(full))
        check.outside = sorted({owners[number] for number in np.flatnonzero(~within)} - check.damaged.keys())
        thin: dict[int, list[np.ndarray]] = {}
        for position, polygon in zip(owners, polygons, strict=True):
            if position not in solid and position not in check.damaged:
                thin.setdefault(position, []).append(polygon)
        for position, shapes in thin.items():
            width, height = sizes[position]
            drawn = coco_mask.frPyObjects([shape.ravel().tolist() for shape in shapes], height, width)
            if coco_mask.area(drawn).any():
                solid.add(position)
    check.empty = sorted(set(range(len(sizes))) - solid - check.damaged.keys())
    return check


def _measure(polygons: list[np.ndarray], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which polygons lie within their image, up to a pixel, which surely have pixels there, and their perimeters.

    The area of a shape is at most its perimeter times the radius of the largest disc in it: where it is more than the
    perimeter, a disc of one pixel's radius fits in, with a pixel in it.

    Args:
        polygons: K of them, (n, 2) each, n at least 1.
        sizes: (K, 2), width and height.

    Returns:
        Three arrays (K,).
    """
    numbers = np.array([len(polygon) for polygon in polygons])
    starts = np.cumsum(numbers) - numbers
    points = np.concatenate(polygons)
    following = np.arange(1, len(points) + 1)
    following[starts + numbers - 1] = starts  # each polygon is closed
    ahead = points[following]
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    areas = np.abs(np.add.reduceat(points[:, 0] * ahead[:, 1] - points[:, 1] * ahead[:, 0], starts)) / 2
    perimeters = np.add.reduceat(np.hypot(*(ahead - points).T), starts)
    within = np.all((low >= -1) & (high <= sizes + 1), axis=1)
    inside = np.all((low >= 0) & (high <= sizes), axis=1)
    return within, inside & (areas > perimeters), perimeters
