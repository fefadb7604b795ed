"""Figures of what a network sees: their panels, and that nothing runs out of its place."""

from __future__ import annotations

import itertools
from io import BytesIO

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from mmmagnet.visualization.explanations import draw_guesses, draw_predictions, draw_word_attention

IMAGE = np.random.default_rng(0).integers(60, 200, (40, 60, 3)).astype(np.uint8)
MASK = np.zeros((32, 32), bool)
MASK[4:16, 8:24] = True


def texts_of(figure):
    """All texts that are drawn."""
    found = [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)]
    return [text.get_text() for text in (*found, *figure.texts) if text.get_text()]


def saved(figure):
    """The figure as pixels, RGB."""
    stream = BytesIO()
    figure.savefig(stream, format='png', dpi=100)
    return np.asarray(Image.open(stream).convert('RGB'))


@pytest.mark.parametrize('words', [['the', 'cup'], ['word'] * 9])
def test_word_attention(words):
    attention = np.random.default_rng(0).random((4, len(words), 8, 8))
    figure = draw_word_attention(IMAGE, words, attention)
    assert texts_of(figure).count('stage 4') == 1
    assert [text for text in texts_of(figure) if not text.startswith('stage')] == words
    assert len(figure.axes) == 4 * len(words) + 4  # a scale for each stage
    pixels = saved(figure)
    assert pixels.shape[1] > 100 * len(words)
    assert (pixels[:, -2:] == 255).all()  # no number is cut off


def test_share_is_the_heat():
    """The place and the word of the largest share are the brightest."""
    attention = np.full((1, 2, 4, 4), 0.1)
    attention[0, 1, 3, 0] = 0.9
    first, second = (axis.images[0].get_array() for axis in draw_word_attention(IMAGE, ['a', 'b'], attention).axes[:2])
    assert first.std() < second.std()
    height, width = second.shape[:2]
    corners = [second[y, x].sum() for y in (0, height - 1) for x in (0, width - 1)]
    assert int(np.argmax(corners)) == 2


def test_predictions():
    probabilities = np.stack([0.4 * MASK, 0.6 * MASK[::-1], 0.6 * MASK])
    figure = draw_predictions(IMAGE, probabilities, threshold=0.5, columns=2)
    assert texts_of(figure) == ['before layer 1 \u00b7 IoU 0.00', 'after layer 1 \u00b7 IoU 0.00', 'after layer 2']
    assert [axis.get_visible() for axis in figure.axes] == [True, True, True, False]


@pytest.mark.parametrize('mask', [MASK, np.zeros_like(MASK)])
def test_guesses(mask):
    words = ['the', 'red', 'cup', 'on', 'the', 'table']
    guesses = [[(word, 0.6), ('other', 0.2)] for word in words]
    guesses[1] = [('blue', 0.5), ('red', 0.25)]
    figure = draw_guesses(IMAGE, mask, words, guesses)
    shown = [text for text in texts_of(figure) if '[MASK]' in text]
    assert shown[1] == 'the [MASK] cup on \u2026'
    assert shown[5] == '\u2026 on the [MASK]'
    green = [
        [bar.get_facecolor()[1] > bar.get_facecolor()[0] + 0.2 for bar in axis.patches] for axis in figure.axes[1:]
    ]
    assert green[0] == [True, False]
    assert green[1] == [False, True]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    places = [text.get_window_extent(canvas.get_renderer()) for text in figure.texts]
    rows = [sorted((place.x0, place.x1) for place in places if abs(place.y0 - other.y0) < 5) for other in places]
    assert all(left[1] < right[0] for row in rows for left, right in itertools.pairwise(row))
    assert max(place.x1 for place in places) < figure.bbox.width
