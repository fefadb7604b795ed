"""Sampling of scenes: the objects of an image and their places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .level import COLOURS, HELD_OUT, SIZES, Level


@dataclass(frozen=True)
class SceneObject:
    """One object, in pixels: x to the right, y down, (0, 0) is the upper left corner of the image.

    ``x, y`` is the centre of its shape, ``cx, cy`` the mean position of its visible pixels. Position, order and
    relation words are measured by the latter, which are set once the scene is rasterised.
    """

    shape: str
    colour: str
    texture: str
    size: str
    radius: float = 0.0
    x: float = 0.0
    y: float = 0.0
    cx: float = 0.0
    cy: float = 0.0
    angle: float = 0.0
    rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Scene:
    """Objects in drawing order (the last one in front) in a square image of side ``size`` pixels."""

    level: Level
    size: int
    objects: tuple[SceneObject, ...]


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def pick_weighted(rng: np.random.Generator, weights: dict[str, float]) -> str:
    """One of the options at random, by their weights."""
    left = rng.random() * sum(weights.values())
    for option, weight in weights.items():
        left -= weight
        if left < 0:
            return option
    return option


def _change(rng: np.random.Generator, value: str, options: Sequence[str]) -> str:
    return _pick(rng, [option for option in options if option != value])


def _derive(rng: np.random.Generator, level: Level, parent: SceneObject, held_out_allowed: bool) -> SceneObject:
    """A near-duplicate of ``parent``: at most one attribute changed (and the size, where the level varies it)."""
    change = pick_weighted(rng, level.changes)
    colour, shape, texture, size = parent.colour, parent.shape, parent.texture, parent.size
    if change in ('colour', 'shape'):
        pairs = [(c, shape) for c in level.colours] if change == 'colour' else [(colour, s) for s in level.shapes]
        options = [p for p in pairs if p != (colour, shape) and (held_out_allowed or p not in HELD_OUT)]
        colour, shape = options[int(rng.integers(len(options)))]
    elif change == 'texture':
        texture = _change(rng, texture, level.textures)
    elif change == 'size':
        size = _change(rng, size, SIZES)
    if level.vary_size:
        size = _pick(rng, SIZES)
    return SceneObject(shape=shape, colour=colour, texture=texture, size=size)


def sample_attributes(rng: np.random.Generator, level: Level, split: str) -> list[SceneObject]:
    """Objects of one image, not yet placed.

    Every object shares its colour or its shape with at least one other. Outside testB, no object has a held-out
    pair. testB starts with two objects of held-out pairs: either the same pair twice, or two pairs and a third object
    with the colour of one and the shape of the other.
    """
    low, high = level.num_objects
    count = high if split == 'testA' else int(rng.integers(low, high + 1))

    def fresh(pair: tuple[str, str]) -> SceneObject:
        return SceneObject(shape=pair[1], colour=pair[0], texture=_pick(rng, level.textures), size=_pick(rng, SIZES))

    if split == 'testB':
        pairs = level.held_out
        first = fresh(pairs[int(rng.integers(len(pairs)))])
        second = fresh(pairs[int(rng.integers(len(pairs)))])
        objects = [first, second]
        if first.colour != second.colour:
            mixed = [(first.colour, second.shape), (second.colour, first.shape)]
            objects.append(fresh(mixed[int(rng.integers(2))]))
            count = max(count, 3)
    else:
        objects = [fresh(level.pairs[int(rng.integers(len(level.pairs)))])]
    while len(objects) < count:
        parent = objects[int(rng.integers(len(objects)))]
        objects.append(_derive(rng, level, parent, held_out_allowed=split == 'testB'))
    order = rng.permutation(len(objects))
    return [objects[int(i)] for i in order]


def _jitter(rng: np.random.Generator, colour: str) -> tuple[float, float, float]:
    shade = rng.uniform(0.92, 1.06)
    red, green, blue = (min(255.0, max(0.0, v * shade + rng.uniform(-9, 9))) for v in COLOURS[colour])
    return red, green, blue


def place(
    rng: np.random.Generator, level: Level, size: int, objects: list[SceneObject]
) -> tuple[SceneObject, ...] | None:
    """Give each object its radius, centre, angle and exact colour; None if one found no room."""
    placed: list[SceneObject] = []
    for item in objects:
        low, high = level.radius[item.size]
        radius = rng.uniform(low, high) * size
        border = radius * 1.12 + 1.0
        for _ in range(24):
            touching = bool(placed) and rng.random() < level.touch
            if touching:
                other = placed[int(rng.integers(len(placed)))]
                distance = rng.uniform(level.overlap, 1.0) * (radius + other.radius)
                direction = rng.uniform(0, 2 * math.pi)
                x, y = other.x + distance * math.cos(direction), other.y + distance * math.sin(direction)
            else:
                x, y = rng.uniform(border, size - border), rng.uniform(border, size - border)
            if not (border <= x <= size - border and border <= y <= size - border):
                continue
            least = level.overlap if touching else 1.0
            if all(math.hypot(x - o.x, y - o.y) >= least * (radius + o.radius) for o in placed):
                break
        else:
            return None
        angle = rng.uniform(-0.16, 0.16)
        placed.append(replace(item, radius=radius, x=x, y=y, angle=angle, rgb=_jitter(rng, item.colour)))
    return tuple(placed)
