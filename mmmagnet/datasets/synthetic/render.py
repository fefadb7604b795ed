"""Rendering of scenes: antialiased shapes, textures, backgrounds, and the visible mask of each object."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import SceneObject

_SUPERSAMPLE = 4
_SHIFT = 3  # cv2 takes fixed-point coordinates with this many fractional bits


def _star() -> NDArray[np.float64]:
    turn = -math.pi / 2 + np.arange(10) * math.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, 1.3, 0.56)
    return np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)


def _cross(reach: float, half: float) -> NDArray[np.float64]:
    quarter = [(-half, -reach), (half, -reach), (half, -half)]
    corners = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return np.array(corners)


# Outlines for radius 1, scaled so that all shapes of a radius have like areas (2 to 3.2).
_OUTLINES: dict[str, NDArray[np.float64]] = {
    'square': np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
    'triangle': np.array([(0.0, -1.3), (1.126, 0.65), (-1.126, 0.65)]),
    'cross': _cross(1.08, 0.38),
    'star': _star(),
    'diamond': np.array([(0.0, -1.35), (0.88, 0.0), (0.0, 1.35), (-0.88, 0.0)]),
}
_DISC_REACH = {'circle': 1.0, 'ring': 1.08}
_RING_HOLE = 0.52
_RIM_KERNEL = np.ones((3, 3), np.uint8)
_RIM = np.linspace(1.0, 0.45, 256, dtype=np.float32)  # coverage nearby -> brightness left
_REACH = 1.4  # no outline point lies farther from the centre, in radii


class Patch:
    """The part of the image an object touches: its corner (pixels) and its coverage (h, w), uint8, 255 = covered."""

    __slots__ = ('coverage', 'x0', 'y0')

    def __init__(self, x0: int, y0: int, coverage: NDArray[np.uint8]) -> None:
        self.x0 = x0
        self.y0 = y0
        self.coverage = coverage

    @property
    def slices(self) -> tuple[slice, slice]:
        """Where the patch lies in an (S, S, ...) array."""
        height, width = self.coverage.shape
        return slice(self.y0, self.y0 + height), slice(self.x0, self.x0 + width)


def rasterise(item: SceneObject, size: int) -> Patch:
    """Coverage of one object, cut off at the border of an image of side `size` pixels."""
    reach = item.radius * _REACH + 1
    x0, y0 = max(0, math.floor(item.x - reach)), max(0, math.floor(item.y - reach))
    x1, y1 = min(size, math.ceil(item.x + reach)), min(size, math.ceil(item.y + reach))
    canvas = np.zeros(((y1 - y0) * _SUPERSAMPLE, (x1 - x0) * _SUPERSAMPLE), np.uint8)
    unit = _SUPERSAMPLE * (1 << _SHIFT)
    # cv2 counts from the middle of the first (sub)pixel, the scene from its edge.
    centre = np.array([(item.x - x0) * unit, (item.y - y0) * unit]) - (1 << _SHIFT) / 2
    if item.shape in _OUTLINES:
        cos, sin = math.cos(item.angle), math.sin(item.angle)
        points = _OUTLINES[item.shape] @ np.array([(cos, sin), (-sin, cos)]) * (item.radius * unit) + centre
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 255, shift=_SHIFT)
    else:
        middle = (round(float(centre[0])), round(float(centre[1])))
        radius = _DISC_REACH[item.shape] * item.radius * unit
        cv2.circle(canvas, middle, round(radius), 255, -1, shift=_SHIFT)
        if item.shape == 'ring':
            cv2.circle(canvas, middle, round(_RING_HOLE * radius), 0, -1, shift=_SHIFT)
    return Patch(x0, y0, cv2.resize(canvas, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA).astype(np.uint8))


def visible_masks(
    objects: tuple[SceneObject, ...], patches: list[Patch], size: int
) -> tuple[NDArray[np.uint8], list[int]]:
    """Masks of the visible part of each object, and the area that each would have alone.

    A pixel belongs to the frontmost object that covers at least half of it.

    Returns:
        Masks (S, S, n) of zeros and ones in column-major order (as pycocotools encodes them); n areas in pixels.
    """
    masks = np.zeros((size, size, len(objects)), np.uint8, order='F')
    areas = []
    for i, patch in enumerate(patches):
        inside = patch.coverage >= 128
        rows, columns = patch.slices
        masks[rows, columns, :i][inside] = 0
        masks[rows, columns, i] = inside
        areas.append(int(np.count_nonzero(inside)))
    return masks, areas


def with_visible_centres(
    objects: tuple[SceneObject, ...], masks: NDArray[np.uint8]
) -> tuple[tuple[SceneObject, ...], list[int]]:
    """Objects with ``cx, cy`` at the mean position of their visible pixels, and the numbers of these pixels."""
    columns, rows = masks.sum(axis=0, dtype=np.int64), masks.sum(axis=1, dtype=np.int64)
    places = np.arange(len(masks)) + 0.5
    areas = columns.sum(axis=0)
    some = np.maximum(areas, 1)
    cx, cy = places @ columns / some, places @ rows / some
    seen = tuple(replace(o, cx=float(cx[i]), cy=float(cy[i])) for i, o in enumerate(objects))
    return seen, [int(a) for a in areas]


def background(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """A dull textured background (S, S, 3), RGB in 0..255: smooth noise, a gradient or stripes, with fine grain."""
    kind = int(rng.integers(3))
    steps = np.linspace(-1, 1, size, dtype=np.float32)
    turn = rng.uniform(0, 2 * math.pi)
    along = steps[None, :] * np.float32(math.cos(turn)) + steps[:, None] * np.float32(math.sin(turn))
    if kind == 0:
        cells = int(rng.integers(3, 10))
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * np.float32(rng.uniform(8, 16))
    elif kind == 1:
        field = along * np.float32(rng.uniform(15, 38))
    else:
        waves = rng.uniform(4, 12)
        field = np.sin(along * np.float32(waves * math.pi) + np.float32(turn)) * np.float32(rng.uniform(6, 16))
    field = field + rng.random((size, size), dtype=np.float32) * np.float32(rng.uniform(4, 14))
    base = rng.uniform(70, 135) + rng.uniform(-10, 10, 3)
    image = field[:, :, None] + base.astype(np.float32)
    return np.clip(image, 10, 178, out=image)


def _shading(item: SceneObject, patch: Patch, size: int) -> NDArray[np.float32]:
    """Brightness of a textured object over its patch (h, w): 1 on the ground of the texture, darker on its marks."""
    height, width = patch.coverage.shape
    x = np.arange(width, dtype=np.float32) + np.float32(patch.x0 + 0.5 - item.x)
    y = (np.arange(height, dtype=np.float32) + np.float32(patch.y0 + 0.5 - item.y))[:, None]
    turn = item.angle * 3 + math.pi / 4
    cos, sin = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    wave = np.float32(2 * math.pi / (0.058 * size))
    u, v = (x * cos + y * sin) * wave, (y * cos - x * sin) * wave
    if item.texture == 'striped':
        marks = np.clip(0.5 + 1.2 * np.sin(u), 0, 1)
    else:
        marks = np.clip(1.3 * (np.cos(u) + np.cos(v)) - 0.35, 0, 1)
    return (1 - np.float32(0.62) * marks).astype(np.float32)


def paint(
    rng: np.random.Generator, objects: tuple[SceneObject, ...], patches: list[Patch], size: int
) -> NDArray[np.uint8]:
    """Draw the scene over a background: (S, S, 3) uint8 in BGR order, as cv2 writes it."""
    image = background(rng, size)
    for item, patch in zip(objects, patches, strict=True):
        part = image[patch.slices]
        # A dark rim keeps objects of one colour apart; it lies outside the object, on what is behind it.
        part *= _RIM[cv2.dilate(patch.coverage, _RIM_KERNEL)][:, :, None]
        colour = np.array(item.rgb, np.float32)
        fill = colour if item.texture == 'plain' else _shading(item, patch, size)[:, :, None] * colour
        part += (fill - part) * (patch.coverage.astype(np.float32) * np.float32(1 / 255))[:, :, None]
    return np.ascontiguousarray(image[:, :, ::-1] + np.float32(0.5)).astype(np.uint8)
