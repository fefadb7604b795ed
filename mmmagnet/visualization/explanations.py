"""Figures of what a network sees: attention to words, predictions of the decoder, guesses of masked words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from .captions import INK
from .panels import GT_COLOR, fit_image, mask_iou, overlay_mask

WORD, GUESS = (tuple(channel / 255 for channel in color) for color in ((46, 158, 100), (176, 181, 190)))
"""Colours of bars: the word that was masked, and the others."""


def figure_pixels(figure: Figure, dpi: int = 140) -> np.ndarray:
    """A figure as an image, RGB (H, W, 3) uint8.

    Args:
        figure: A figure of matplotlib.
        dpi: Pixels an inch.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_word_attention(image: np.ndarray, words: Sequence[str], attention: np.ndarray) -> Figure:
    """Heat maps of the words on the image, a row for each stage with its own scale from 0.

    Args:
        image: RGB, (H, W, 3) uint8.
        words: L words.
        attention: Shares (stages, L, h, w), 0 to 1.

    Returns:
        A figure of matplotlib; save it by `savefig`.
    """
    image = fit_image(image)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    figure, axes = _grid(len(attention), len(words), image, side=1.25, top=0.26, left=0.22, right=0.5)
    for stage, (row, shares) in enumerate(zip(axes, attention, strict=True)):
        colors = ScalarMappable(Normalize(0, float(shares.max())), 'magma')
        for axis, word, share in zip(row, words, shares, strict=True):
            soft = cv2.resize(share.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            axis.imshow((0.35 * grey + 0.65 * 255 * colors.to_rgba(soft)[..., :3]).astype(np.uint8))
            if stage == 0:
                axis.set_title(word, pad=4, **_style(10))
        row[0].set_ylabel(f'stage {stage + 1}', labelpad=3, **_style(8))
        place = row[-1].get_position()
        bar = figure.add_axes(
            (place.x1 + 0.08 / figure.get_figwidth(), place.y0, 0.07 / figure.get_figwidth(), place.height)
        )
        figure.colorbar(colors, cax=bar).outline.set_visible(False)
        bar.tick_params(length=2, pad=2, labelsize=6.5)
    return figure


def draw_predictions(image: np.ndarray, probabilities: np.ndarray, threshold: float = 0.5, columns: int = 5) -> Figure:
    """The masks that a decoder predicts before its first layer and after each, from left to right.

    Args:
        image: RGB, (H, W, 3) uint8.
        probabilities: Of the foreground, (K, h, w).
        threshold: Probability above which a pixel is in a mask.
        columns: Panels of a row.

    Returns:
        A figure of matplotlib.
    """
    image, masks = fit_image(image), probabilities > threshold
    columns = min(columns, len(masks))
    figure, axes = _grid(math.ceil(len(masks) / columns), columns, image, side=1.5, gap=0.2, top=0.18)
    for index, axis in enumerate(axes.flat):
        if index >= len(masks):
            axis.set_visible(False)
            continue
        axis.imshow(overlay_mask(image, masks[index]))
        name = f'after layer {index}' if index else 'before layer 1'
        if index < len(masks) - 1 and (masks[index].any() or masks[-1].any()):
            name += f' \u00b7 IoU {mask_iou(masks[index], masks[-1]):.2f}'
        axis.set_title(name, pad=3, **_style(7))
    return figure


def draw_guesses(
    image: np.ndarray,
    mask: np.ndarray,
    words: Sequence[str],
    guesses: Sequence[Sequence[tuple[str, float]]],
) -> Figure:
    """For each masked word what was guessed in its place, as bars of probability; the word itself is green.

    Args:
        image: RGB, (H, W, 3) uint8.
        mask: (h, w) bool; its centre is what Mask Grounding was told.
        words: W words of the expression.
        guesses: For each word, word and probability of the best guesses, the best one first; as many of each.

    Returns:
        A figure of matplotlib.
    """
    image = fit_image(image)
    rows = math.ceil(len(words) / 4)
    columns = math.ceil(len(words) / rows)
    side, cell = 1.7, 1.75  # inches: of the image, and from one column of bars to the next
    tall = side * image.shape[0] / image.shape[1]
    high = max(0.34 + 0.15 * max(len(best) for best in guesses), tall / rows)
    width, height = side + 0.1 + cell * columns, rows * high + 0.1
    figure = Figure(figsize=(width, height))

    def add(left: float, bottom: float, wide: float, tall: float) -> Any:
        """Axes at a place in inches."""
        return figure.add_axes((left / width, bottom / height, wide / width, tall / height))

    panel = add(0.05, height - tall - 0.05, side, tall)
    panel.imshow(overlay_mask(image, mask, GT_COLOR))
    panel.axis('off')
    if mask.any():
        y, x = (float(places.mean() + 0.5) * image.shape[1] / mask.shape[1] for places in np.nonzero(mask))
        panel.plot(x, y, marker='+', markersize=8, markeredgewidth=1.6, color='white')
    for index, (word, best) in enumerate(zip(words, guesses, strict=True)):
        row, column = divmod(index, columns)
        left, bottom = side + 0.15 + cell * column, height - (row + 1) * high - 0.02
        axis = add(left + 0.6, bottom, 0.75, high - 0.3)
        names, values = zip(*best, strict=True)
        axis.barh(names, values, color=[WORD if name == word else GUESS for name in names], height=0.72)
        axis.set_yticks(range(len(names)), names, **_style(7))
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.set_xticks([])
        axis.tick_params(length=0, pad=2)
        axis.spines[:].set_visible(False)
        for bar, value in enumerate(values):
            axis.text(value + 0.03, bar, f'{value:.2f}', va='center', **_style(6.5))
        shown = ' '.join(_around(words, index))
        figure.text(left / width, (bottom + high - 0.16) / height, shown, va='center', fontstyle='italic', **_style(7))
    return figure


def _around(words: Sequence[str], index: int, reach: int = 2) -> list[str]:
    """A masked word between its neighbours, as there is no room for long expressions."""
    before, after = words[max(0, index - reach) : index], words[index + 1 : index + 1 + reach]
    cut_before, cut_after = ['\u2026'] * (index > reach), ['\u2026'] * (index + 1 + reach < len(words))
    return [*cut_before, *before, '[MASK]', *after, *cut_after]


def _grid(
    rows: int,
    columns: int,
    image: np.ndarray,
    side: float,
    gap: float = 0.08,
    top: float = 0.05,
    left: float = 0.05,
    right: float = 0.05,
) -> tuple[Figure, Any]:
    """A figure of panels of an image's shape, `side` wide, and its axes (rows, columns); sizes in inches."""
    tall = side * image.shape[0] / image.shape[1]
    width = left + columns * side + (columns - 1) * 0.08 + right
    height = top + rows * tall + (rows - 1) * gap + 0.05
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    sides = {'left': left / width, 'right': 1 - right / width, 'top': 1 - top / height, 'bottom': 0.05 / height}
    figure.subplots_adjust(**sides, wspace=0.08 / side, hspace=gap / tall)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
    return figure, axes


def _style(size: float) -> dict[str, Any]:
    """A text of the house's ink, `size` points."""
    return {'fontsize': size, 'color': tuple(channel / 255 for channel in INK)}
