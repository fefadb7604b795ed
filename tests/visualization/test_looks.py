"""What a user sees in a drawn image, whatever its exact colours: text that fits, masks that stand out, sizes."""

from __future__ import annotations

import numpy as np
import pytest

from mmmagnet.visualization import draw_panels, overlay_mask

SIDE = 300
MASK = np.zeros((SIDE, SIDE), bool)
MASK[90:210, 90:210] = True


def caption(expression: str) -> np.ndarray:
    """The part of an image that a caption adds: where it has ink, (H, W) bool."""
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    drawn, bare = (draw_panels(image, text, min_side=SIDE, max_side=SIDE) for text in (expression, ''))
    return drawn[: len(drawn) - len(bare) + 1].min(axis=2) < 128


def lines_of(ink: np.ndarray) -> int:
    """Number of separate bands of rows that have ink."""
    rows = np.concatenate([[False], ink.any(axis=1)])
    return int((rows[1:] & ~rows[:-1]).sum())


@pytest.mark.parametrize(
    ('expression', 'least', 'most'), [('man', 1, 1), ('the man in a red shirt ' * 6, 3, 14), ('m' * 120, 3, 14)]
)
def test_expressions_are_wrapped_within_the_width(expression, least, most):
    ink = caption(expression)
    assert least <= lines_of(ink) <= most
    assert ink.shape[1] == SIDE
    assert not ink[:, -1].any()  # no letter is cut off


def test_every_word_of_an_expression_is_drawn():
    """As much ink is in the wrapped text as in its words one by one."""
    words = ['kangaroo', 'bicycle', 'umbrella', 'mountain', 'sandwich', 'elephant', 'keyboard']
    marks = caption('a').sum()
    separate = sum(caption(word).sum() for word in words) - (len(words) - 1) * marks
    assert caption(' '.join(words)).sum() == pytest.approx(separate, rel=0.3)


@pytest.mark.parametrize('grey', [0, 60, 128, 200, 255])
def test_outline_has_the_colour_and_the_inside_differs_from_the_outside(grey):
    color = (30, 160, 240)
    drawn = overlay_mask(np.full((SIDE, SIDE, 3), grey, np.uint8), MASK, color).astype(int)
    edge = np.abs(drawn[80:100, 150] - color).max(axis=1)
    assert edge.min() < 30  # somewhere on the way into the mask the colour itself
    outside, inside = drawn[10, 10], drawn[150, 150]
    assert np.abs(inside - color).max() > 30  # the image shows in the mask
    assert (outside <= grey).all()
    assert grey == 0 or np.abs(inside - outside).max() > 10


def test_ground_truth_and_prediction_have_different_colours():
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)

    def strongest(**masks: np.ndarray) -> np.ndarray:
        drawn = draw_panels(image, '', min_side=SIDE, max_side=SIDE, **masks).astype(int)
        saturation = np.ptp(drawn, axis=2)
        return drawn[saturation >= np.percentile(saturation, 99.5)].mean(axis=0)

    truth, prediction = strongest(gt_mask=MASK), strongest(pred_mask=MASK)
    assert min(np.ptp(truth), np.ptp(prediction)) > 60  # both stand out from a grey image
    assert np.abs(truth - prediction).max() > 80


@pytest.mark.parametrize(
    ('shape', 'width'), [((64, 64), 256), ((40, 80), 560), ((300, 400), 400), ((500, 1000), 600), ((1000, 500), 300)]
)
def test_small_images_grow_and_large_ones_shrink(shape, width):
    drawn = draw_panels(np.zeros((*shape, 3), np.uint8), '', min_side=256, max_side=600)
    assert drawn.shape[1] == width
    assert np.count_nonzero((drawn == 0).all(axis=2).sum(axis=1) == width) == pytest.approx(
        width * shape[0] / shape[1], abs=1
    )
