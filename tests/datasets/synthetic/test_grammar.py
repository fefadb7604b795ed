"""The two readings of each family, on scenes laid out by hand in an image of side 100 (margin 8 at the level full)."""

from __future__ import annotations

import pytest

from mmmagnet.datasets.synthetic import FULL
from mmmagnet.datasets.synthetic.grammar import Noun, Order, Position, Relation, identifies, matches
from mmmagnet.datasets.synthetic.scene import Scene, SceneObject

CIRCLE = Noun(shape='circle')
BLUE_SQUARE = Noun(shape='square', colour='blue')


def scene(*objects: tuple[str, str, float, float]) -> Scene:
    items = [SceneObject(shape, colour, 'plain', 'big', cx=x, cy=y) for colour, shape, x, y in objects]
    return Scene(FULL, 100, tuple(items))


ROW = scene(('red', 'circle', 20, 50), ('green', 'circle', 45, 50), ('red', 'circle', 80, 50))
CLOSE = scene(('red', 'circle', 20, 50), ('green', 'circle', 24, 50), ('red', 'circle', 80, 50))
RIGHT_HALF = scene(('red', 'circle', 65, 50), ('red', 'circle', 90, 50))
AROUND = scene(
    ('blue', 'square', 50, 50), ('red', 'circle', 20, 50), ('red', 'circle', 80, 50), ('green', 'circle', 50, 80)
)
STEEP = scene(('blue', 'square', 50, 50), ('red', 'circle', 40, 10), ('red', 'circle', 80, 50))
TWO_SQUARES = scene(('blue', 'square', 50, 50), ('blue', 'square', 50, 90), ('red', 'circle', 20, 50))


@pytest.mark.parametrize(
    ('where', 'spec', 'strict', 'loose'),
    [
        (ROW, CIRCLE, {0, 1, 2}, {0, 1, 2}),
        (ROW, Noun(colour='green'), {1}, {1}),
        (ROW, Noun(), {0, 1, 2}, {0, 1, 2}),
        (ROW, Position(CIRCLE, 'left'), {0}, {0}),
        (ROW, Position(CIRCLE, 'right'), {2}, {2}),
        (ROW, Position(CIRCLE, 'top'), set(), {0, 1, 2}),
        (CLOSE, Position(CIRCLE, 'left'), set(), {0, 1}),
        (CLOSE, Position(Noun(colour='red'), 'left'), {0}, {0}),
        (RIGHT_HALF, Position(CIRCLE, 'left'), set(), set()),
        (RIGHT_HALF, Position(CIRCLE, 'left', superlative=True), {0}, {0}),
        (ROW, Order(CIRCLE, 'left', 2), {1}, {1}),
        (ROW, Order(CIRCLE, 'right', 3), {0}, {0}),
        (ROW, Order(CIRCLE, 'left', 4), set(), set()),
        (CLOSE, Order(CIRCLE, 'left', 2), set(), {0, 1}),
        (CLOSE, Order(CIRCLE, 'right', 1), {2}, {2}),
        (AROUND, Relation(CIRCLE, 'left', BLUE_SQUARE), {1}, {1, 3}),
        (AROUND, Relation(Noun(colour='red'), 'left', BLUE_SQUARE), {1}, {1}),
        (AROUND, Relation(Noun(colour='red'), 'right', BLUE_SQUARE), {2}, {2}),
        (AROUND, Relation(CIRCLE, 'bottom', BLUE_SQUARE), {3}, {1, 2, 3}),
        (AROUND, Relation(CIRCLE, 'near', BLUE_SQUARE), {1, 2, 3}, {1, 2, 3}),
        (STEEP, Relation(CIRCLE, 'left', BLUE_SQUARE), set(), {1}),
        (STEEP, Relation(CIRCLE, 'near', BLUE_SQUARE), {2}, {1, 2}),
        (TWO_SQUARES, Relation(CIRCLE, 'left', BLUE_SQUARE), set(), set()),
        (AROUND, Relation(Noun(), 'left', BLUE_SQUARE), {1}, {1, 3}),
    ],
)
def test_readings(where, spec, strict, loose):
    assert matches(spec, where, 'strict') == strict
    assert matches(spec, where, 'loose') == loose
    for target in range(len(where.objects)):
        assert identifies(spec, where, target) == (strict == loose == {target})
