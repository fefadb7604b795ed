"""Meaning of expressions: their specifications, and the objects of a scene that each one fits.

An expression is measured by the centres of the objects' visible parts and has two readings. ``strict`` holds only where
nobody would doubt it, ``loose`` wherever somebody might think so; with m = ``level.margin`` x S:

==========  ======================================================  ==================================================
            strict                                                  loose
==========  ======================================================  ==================================================
position    at least m before every other one of its kind           not more than m behind any other one of its kind
(plain)     and at least m inside that half of the image            and not more than m outside of that half
order       exactly k - 1 others before it, none within m of it     k - 1 others before it, in some order of those
                                                                    that lie within m of it
left of ..  at least m beyond the anchor, and farther in this       not more than m on the other side of the anchor
            direction than across it
next to     centres at most ``level.near`` x S apart                centres at most ``level.far`` x S apart
==========  ======================================================  ==================================================

An expression is used only where both readings fit the target and nothing else, so every reading in between does too.
Attributes (shape, colour, texture, size) leave no doubt: both readings agree on them. The anchor of a relation is named
by attributes that fit it alone, and never is the answer itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from .scene import Scene, SceneObject

Reading = Literal['strict', 'loose']

DIRECTIONS = ('left', 'right', 'top', 'bottom')
RELATIONS = ('left', 'right', 'top', 'bottom', 'near')


@dataclass(frozen=True)
class Noun:
    """Family `attribute`: the objects that have all attributes given; with none given, all objects."""

    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Position:
    """Family `position`: of the ``noun`` objects the one farthest to the ``direction``.

    A plain one ('the left circle') also lies in that half of the image, a superlative ('the leftmost circle') need not.
    """

    noun: Noun
    direction: str
    superlative: bool = False


@dataclass(frozen=True)
class Order:
    """Family `order`: of the ``noun`` objects the one at place ``rank`` (1 = first), counted from the ``direction``."""

    noun: Noun
    direction: str
    rank: int


@dataclass(frozen=True)
class Relation:
    """Family `relation`: the ``noun`` object that lies to the ``relation`` of, or near, the ``anchor``."""

    noun: Noun
    relation: str
    anchor: Noun


Expression = Noun | Position | Order | Relation

FAMILIES: dict[type, str] = {Noun: 'attribute', Position: 'position', Order: 'order', Relation: 'relation'}


def along(item: SceneObject, direction: str) -> float:
    """Coordinate of an object, in pixels, that is the smaller the farther it lies to the ``direction``."""
    if direction == 'left':
        return item.cx
    if direction == 'right':
        return -item.cx
    return item.cy if direction == 'top' else -item.cy


def noun_matches(noun: Noun, scene: Scene) -> set[int]:
    """Indices of the objects that have all attributes of ``noun``."""
    shape, colour, texture, size = noun.shape, noun.colour, noun.texture, noun.size
    return {
        i
        for i, o in enumerate(scene.objects)
        if (shape is None or o.shape == shape)
        and (colour is None or o.colour == colour)
        and (texture is None or o.texture == texture)
        and (size is None or o.size == size)
    }


def _position_matches(spec: Position, scene: Scene, slack: float) -> set[int]:
    kind = noun_matches(spec.noun, scene)
    places = {i: along(scene.objects[i], spec.direction) for i in kind}
    half = scene.size / 2 if spec.direction in ('left', 'top') else -scene.size / 2
    found = set()
    for i, place in places.items():
        if not spec.superlative and place > half + slack:
            continue
        if all(place <= other + slack for j, other in places.items() if j != i):
            found.add(i)
    return found


def _order_matches(spec: Order, scene: Scene, margin: float, strict: bool) -> set[int]:
    kind = noun_matches(spec.noun, scene)
    places = {i: along(scene.objects[i], spec.direction) for i in kind}
    found = set()
    for i, place in places.items():
        others = [other for j, other in places.items() if j != i]
        surely = sum(other <= place - margin for other in others)
        maybe = sum(other < place + margin for other in others)
        ahead = spec.rank - 1
        if (surely == maybe == ahead) if strict else (surely <= ahead <= maybe):
            found.add(i)
    return found


def related(item: SceneObject, relation: str, anchor: SceneObject, scene: Scene, reading: Reading) -> bool:
    """Whether ``item`` lies to the ``relation`` of ``anchor`` in the given reading."""
    dx, dy = item.cx - anchor.cx, item.cy - anchor.cy
    if relation == 'near':
        return math.hypot(dx, dy) <= (scene.level.near if reading == 'strict' else scene.level.far) * scene.size
    margin = scene.level.margin * scene.size
    beyond = along(anchor, relation) - along(item, relation)
    if reading == 'loose':
        return beyond >= -margin
    across = abs(dy) if relation in ('left', 'right') else abs(dx)
    return beyond >= margin and beyond >= across


def _relation_matches(spec: Relation, scene: Scene, reading: Reading) -> set[int]:
    anchors = noun_matches(spec.anchor, scene)
    if len(anchors) != 1:
        return set()
    (anchor,) = anchors
    kind = noun_matches(spec.noun, scene) - anchors
    return {i for i in kind if related(scene.objects[i], spec.relation, scene.objects[anchor], scene, reading)}


def matches(spec: Expression, scene: Scene, reading: Reading) -> set[int]:
    """Indices of the objects of ``scene`` that ``spec`` fits in the given reading."""
    if isinstance(spec, Noun):
        return noun_matches(spec, scene)
    margin = scene.level.margin * scene.size
    if isinstance(spec, Position):
        return _position_matches(spec, scene, -margin if reading == 'strict' else margin)
    if isinstance(spec, Order):
        return _order_matches(spec, scene, margin, reading == 'strict')
    return _relation_matches(spec, scene, reading)


def identifies(spec: Expression, scene: Scene, target: int) -> bool:
    """Whether ``spec`` fits object ``target`` and nothing else, in both readings."""
    only = {target}
    return matches(spec, scene, 'strict') == only and matches(spec, scene, 'loose') == only
