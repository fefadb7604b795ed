"""Choice of expressions that identify an object among distractors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from .grammar import (
    DIRECTIONS,
    FAMILIES,
    RELATIONS,
    Expression,
    Noun,
    Order,
    Position,
    Relation,
    along,
    identifies,
    noun_matches,
    related,
)
from .level import Level
from .phrases import phrase
from .scene import Scene, pick_weighted

SENTENCES = (2, 4)
"""Least and greatest number of sentences of a ref."""

ORDER_RANKS = range(2, 5)
"""Places that are counted; position words name the first."""

_PER_FAMILY = 3  # different expressions of one family kept for an object


def _subsets(level: Level) -> list[tuple[str, ...]]:
    names = level.attributes
    return [chosen for count in range(len(names) + 1) for chosen in combinations(names, count)]


class Describer:
    """Finder of expressions for the objects of one scene.

    A distractor always shares something. For attribute expressions of two words or more, another object shares one of
    the words; for single words, another object has the same shape or colour. In the other families, the noun fits at
    least two objects, the anchor of a relation not counted.
    """

    def __init__(self, rng: np.random.Generator, scene: Scene) -> None:
        self.rng = rng
        self.scene = scene
        self.subsets = _subsets(scene.level)
        self._nouns_of: dict[int, list[tuple[Noun, set[int]]]] = {}
        self._naming_of: dict[int, list[Noun]] = {}

    def _nouns(self, target: int) -> list[tuple[Noun, set[int]]]:
        """Nouns that fit the target, from 'thing' to the one with all attributes, with all objects that they fit."""
        if target not in self._nouns_of:
            item = self.scene.objects[target]
            nouns = [Noun(**{name: getattr(item, name) for name in chosen}) for chosen in self.subsets]
            self._nouns_of[target] = [(noun, noun_matches(noun, self.scene)) for noun in nouns]
        return self._nouns_of[target]

    def _shuffled(self, count: int) -> list[int]:
        return [int(i) for i in self.rng.permutation(count)]

    def _has_distractor(self, noun: Noun, target: int) -> bool:
        named = [(name, value) for name in self.scene.level.attributes if (value := getattr(noun, name)) is not None]
        if len(named) < 2:
            item = self.scene.objects[target]
            named = [('colour', item.colour), ('shape', item.shape)]
        rest = [o for i, o in enumerate(self.scene.objects) if i != target]
        return any(getattr(o, name) == value for o in rest for name, value in named)

    def naming(self, target: int) -> list[Noun]:
        """Nouns that fit the target alone; those with a superfluous word come last."""
        if target not in self._naming_of:
            alone = [noun for noun, kind in self._nouns(target) if len(kind) == 1]
            needed = [noun for noun in alone if not any(_less(other, noun) for other in alone)]
            self._naming_of[target] = needed + [noun for noun in alone if noun not in needed]
        return self._naming_of[target]

    # each proposal passes a quick test first, so that `identifies` refuses few

    def _attribute(self, target: int) -> Iterator[Expression]:
        nouns = [noun for noun in self.naming(target) if self._has_distractor(noun, target)]
        weights = self.rng.random(len(nouns)) + np.arange(len(nouns)) * 0.25
        yield from (nouns[int(i)] for i in np.argsort(weights))

    def _places(self, target: int, direction: str) -> tuple[float, list[float]]:
        objects = self.scene.objects
        return along(objects[target], direction), [along(o, direction) for o in objects]

    def _position(self, target: int) -> Iterator[Expression]:
        nouns = [(noun, kind) for noun, kind in self._nouns(target) if len(kind) >= 2]
        rivals = {}
        for direction in DIRECTIONS:
            place, places = self._places(target, direction)
            rivals[direction] = {j for j, other in enumerate(places) if j != target and other < place}
        for i in self._shuffled(len(nouns) * 4):
            (noun, kind), direction = nouns[i // 4], DIRECTIONS[i % 4]
            if not kind & rivals[direction]:
                superlative = self.scene.level.superlatives and self.rng.random() < 0.4
                yield Position(noun, direction, superlative)

    def _order(self, target: int) -> Iterator[Expression]:
        nouns = [(noun, kind) for noun, kind in self._nouns(target) if len(kind) >= 3]
        margin = self.scene.level.margin * self.scene.size
        ahead, doubtful = {}, {}
        for direction in DIRECTIONS:
            place, places = self._places(target, direction)
            ahead[direction] = {j for j, other in enumerate(places) if other < place}
            doubtful[direction] = {j for j, other in enumerate(places) if j != target and abs(other - place) < margin}
        for i in self._shuffled(len(nouns) * 4):
            (noun, kind), direction = nouns[i // 4], DIRECTIONS[i % 4]
            rank = 1 + len(kind & ahead[direction])
            if rank in ORDER_RANKS and not kind & doubtful[direction]:
                yield Order(noun, direction, rank)

    def _relation(self, target: int) -> Iterator[Expression]:
        scene, objects = self.scene, self.scene.objects
        for i in self._shuffled(len(objects) * len(RELATIONS)):
            a, relation = i // len(RELATIONS), RELATIONS[i % len(RELATIONS)]
            anchor = objects[a]
            if a == target or not related(objects[target], relation, anchor, scene, 'strict'):
                continue
            names = self.naming(a)
            if not names:
                continue
            rivals = {j for j, o in enumerate(objects) if j != a and related(o, relation, anchor, scene, 'loose')}
            kinds = [n for n, kind in self._nouns(target) if len(kind - {a}) >= 2 and len(kind & rivals) == 1]
            if kinds:
                name = names[0] if self.rng.random() < 0.7 else names[int(self.rng.integers(len(names)))]
                yield Relation(kinds[int(self.rng.integers(len(kinds)))], relation, name)

    def expressions(self, target: int, family: str) -> list[Expression]:
        """Up to three expressions of a family that identify the target, each checked by :func:`identifies`."""
        proposals = {
            'attribute': self._attribute,
            'position': self._position,
            'order': self._order,
            'relation': self._relation,
        }
        found: list[Expression] = []
        for spec in proposals[family](target):
            if identifies(spec, self.scene, target):
                found.append(spec)
                if len(found) == _PER_FAMILY:
                    break
        return found

    def describe(self, target: int) -> list[tuple[str, Expression]]:
        """Two to four different sentences for the target with their meaning; none where nothing identifies it."""
        weights = dict(self.scene.level.families)
        found: dict[str, list[Expression]] = {}
        sentences: dict[str, Expression] = {}
        wanted = int(self.rng.integers(SENTENCES[0], SENTENCES[1] + 1))
        for _ in range(8 * wanted):
            if not weights or len(sentences) == wanted:
                break
            family = pick_weighted(self.rng, weights)
            if family not in found:
                found[family] = self.expressions(target, family)
            options = found[family]
            if not options:
                del weights[family]
                continue
            spec = options[int(self.rng.integers(len(options)))]
            sentences.setdefault(phrase(self.rng, spec), spec)
        return list(sentences.items()) if len(sentences) >= SENTENCES[0] else []


def family_of(spec: Expression) -> str:
    """Name of the family of an expression."""
    return FAMILIES[type(spec)]


def _less(noun: Noun, other: Noun) -> bool:
    """Whether ``noun`` names some, but not all, of the attributes of ``other`` (both of one object)."""
    if noun == other:
        return False
    pairs = zip(
        (noun.shape, noun.colour, noun.texture, noun.size),
        (other.shape, other.colour, other.texture, other.size),
        strict=True,
    )
    return all(mine is None or mine == theirs for mine, theirs in pairs)
