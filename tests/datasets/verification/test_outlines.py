"""Outlines, checked without drawing most of them."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmagnet.datasets.verification.outlines import check_outlines


def test_lists_of_rle():
    """As refclef and RRSIS-D have them; one with pixels is enough."""
    empty, full = {'size': [10, 12], 'counts': [120]}, {'size': [10, 12], 'counts': [100, 20]}
    check = check_outlines([[full], [empty, full], [empty], [empty, [1, 1, 5, 1, 5, 5]]], [(12, 10)] * 4)
    assert check.empty == [2] and not check.damaged


def test_empty_masks_as_drawn():
    """Against masks drawn by pycocotools: shapes of any size and place, many of them thin."""
    rng = np.random.default_rng(0)
    shapes = []
    for _ in range(600):
        corners = rng.integers(3, 7)
        shape = rng.uniform(-6, 18, 2) + rng.choice([0.05, 0.3, 1, 6]) * rng.normal(size=(corners, 2))
        shape[:, 0] = shape[:, 0].mean() + rng.choice([0.02, 1]) * (shape[:, 0] - shape[:, 0].mean())
        shapes.append([shape.ravel().tolist()])
    check = check_outlines(shapes, [(12, 10)] * len(shapes))
    drawn = [coco_mask.decode(coco_mask.frPyObjects(shape, 10, 12)).any() for shape in shapes]
    assert 20 < sum(drawn) < 580
    assert check.empty == [number for number, has_pixels in enumerate(drawn) if not has_pixels]
    corners = [np.reshape(shape[0], (-1, 2)) for shape in shapes]
    outside = [n for n, c in enumerate(corners) if (c < -1).any() or (c > [13, 11]).any()]
    assert check.outside == outside and not check.damaged


@pytest.mark.parametrize(
    'outline',
    [
        None,
        3,
        'text',
        {},
        [[1, 2, 'a', 4, 5, 6]],
        [[1, 2, None, 4, 5, 6]],
        [3],
        [[10**400] * 6],
        [[float('nan')] * 6],
        [[float('inf')] * 6],
        [[1e9, 0, 0, 1e9, 1, 1]],
        [[0, 0, 60000, 1] * 100],
        {'size': [10, 12], 'counts': [2**80]},
        {'size': [10, 12], 'counts': [-1, 121]},
        {'size': [10, 12], 'counts': 5},
        {'size': [10, 12], 'counts': 'ooo'},
        {'size': None, 'counts': []},
    ],
)
def test_damaged_outlines(outline):
    assert list(check_outlines([outline, [[1, 1, 5, 1, 5, 5]]], [(12, 10)] * 2).damaged) == [0]
