"""Panels: an image dimmed outside a mask, the masks of one expression side by side, and many of them on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from .captions import GREY, PAPER, text_strip

GT_COLOR = (64, 224, 140)
PRED_COLOR = (255, 92, 168)
GAP = 8  # pixels between panels
MIN_WIDTH = 240  # pixels, so that a caption has room over a narrow image
MAX_CAPTION = 400  # letters
_FINE = 3  # an outline is computed on a grid so many times as fine
_SMOOTH, _STAIR = 0.8, 0.3  # of an enlarged mask, in its own pixels: blur of the edge, height of a stair


def draw_panels(
    image: np.ndarray,
    expression: str,
    gt_mask: np.ndarray | None = None,
    pred_mask: np.ndarray | None = None,
    min_side: int = 300,
    max_side: int = 640,
    note: str = '',
    with_image: bool = True,
) -> np.ndarray:
    """The image of one expression: a caption above ``image | ground truth | prediction``.

    Args:
        image: RGB, (H, W, 3) uint8.
        expression: The caption; wrapped to the width, and cut where it is very long.
        gt_mask: Non-zero = referred, (h, w) of any size. None leaves its panel out.
        pred_mask: Likewise. With both, the title of the prediction has their IoU at (H, W), unless both are empty.
            The title of an empty mask says that there is no target.
        min_side: Short side (pixels) to which smaller images are enlarged by a whole factor.
        max_side: Long side (pixels) to which larger images are reduced.
        note: A small line under the caption.
        with_image: Whether a first panel has the image alone. Without a mask it always has.

    Returns:
        RGB uint8, as wide as its panels.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[8:32, 8:32] = True
        >>> draw_panels(np.zeros((64, 64, 3), np.uint8), 'the square', pred_mask=mask).shape[1]
        648
    """
    image = np.ascontiguousarray(image[..., :3], dtype=np.uint8)
    base = fit_image(image, min_side, max_side)
    size = base.shape[:2]
    font_size = max(14, min(size) // 20)

    panels = {'image': base} if with_image or (gt_mask is None and pred_mask is None) else {}
    for title, mask, color in (('ground truth', gt_mask, GT_COLOR), ('prediction', pred_mask, PRED_COLOR)):
        if mask is None:
            continue
        if not np.any(mask):
            title += ': no target'
        if title.startswith('prediction') and gt_mask is not None and (np.any(gt_mask) or np.any(mask)):
            both = (_resize_mask(given, image.shape[:2]) for given in (gt_mask, mask))
            title += f' \u00b7 IoU {mask_iou(*both):.2f}'
        panels[title] = overlay_mask(base, mask, color)

    body = _beside([_above([text_strip(title, size[1], font_size, GREY), panel]) for title, panel in panels.items()])
    width = max(body.shape[1], MIN_WIDTH)
    strips = []
    if expression:
        cut = f'{expression[:MAX_CAPTION]}\u2026' if len(expression) > MAX_CAPTION else expression
        strips.append(text_strip(f'\u201c{cut}\u201d', width, round(font_size * 1.25)))
    if note:
        strips.append(text_strip(note, width, font_size, GREY))
    return _above([*strips, body])


def overlay_mask(
    image: np.ndarray,
    mask: np.ndarray,
    color: tuple[int, int, int] = PRED_COLOR,
    dimming: float = 0.55,
) -> np.ndarray:
    """Dim an image outside a mask and draw a smooth outline around the mask.

    The outline is inside the mask: half a pixel of the mask more or less is not seen. A mask too small for the image's
    size still has an outline.

    Args:
        image: RGB, (H, W, 3) uint8.
        mask: Non-zero = covered, (h, w) of any size.
        color: RGB of the outline.
        dimming: Part of the light that pixels outside lose, 0 to 1; half of their colour goes, too.

    Returns:
        A new RGB image (H, W, 3) uint8.
    """
    inside = _signed_distance(np.asarray(mask) != 0, image.shape[:2])[..., None]
    lit = image.astype(np.float32)
    grey = lit.mean(axis=2, keepdims=True)
    dark = (1 - dimming) * (lit + dimming * (grey - lit))
    drawn = dark + (lit - dark) * _coverage(inside)
    width = max(2.0, min(image.shape[:2]) / 120)
    # a dark rim outside the coloured line: on an image of the line's own colour it still shows
    rim = _coverage(width / 2 + 1 - np.abs(inside))
    drawn *= 1 - 0.75 * rim
    line = _coverage(width / 2 - np.abs(inside))
    drawn += (np.asarray(color, np.float32) - drawn) * line
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8)


def fit_image(image: np.ndarray, min_side: int = 300, max_side: int = 640) -> np.ndarray:
    """An image at the size at which it is drawn.

    Args:
        image: RGB, (h, w, 3) uint8.
        min_side: Short side (pixels) to which smaller images are enlarged by a whole factor.
        max_side: Long side (pixels) to which larger images are reduced.

    Returns:
        RGB (H, W, 3) uint8.
    """
    return _resize_image(image, _panel_size(image.shape[:2], min_side, max_side))


def contact_sheet(images: Sequence[np.ndarray], columns: int = 2, width: int | None = None) -> np.ndarray:
    """Images in rows and columns on white, from left to right.

    Args:
        images: RGB, each (h, w, 3) uint8 of any size; one at least.
        columns: Images of a row.
        width: Width (pixels) to which a wider sheet is reduced. None keeps it.

    Returns:
        RGB (H, W, 3) uint8.

    Raises:
        ValueError: If there is no image, or no column.
    """
    if not images or columns < 1:
        raise ValueError(f'a contact sheet needs an image and a column: {len(images)} images, {columns} columns')
    cell = max(image.shape[1] for image in images)
    rows = [
        _beside([_above([image], width=cell) for image in images[start : start + columns]], gap=4 * GAP)
        for start in range(0, len(images), columns)
    ]
    sheet = _above(rows, gap=GAP)
    if width is not None and sheet.shape[1] > width:
        sheet = _resize_image(sheet, (max(1, round(sheet.shape[0] * width / sheet.shape[1])), width))
    return sheet


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks (H, W); 0 where both are empty."""
    first, second = first.astype(bool), second.astype(bool)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def _signed_distance(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Distance (pixels) of each pixel of (H, W) from the mask's edge: positive inside, float32.

    The edge of an enlarged mask is smoothed, so it has no stairs; a single pixel of the mask still stands out.
    """
    far = float(sum(size))
    if not mask.any() or mask.all():
        return np.full(size, far if mask.any() else -far, np.float32)
    fine = (size[1] * _FINE, size[0] * _FINE)
    scale = size[1] / mask.shape[1]
    soft = cv2.resize(mask.astype(np.float32), fine, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    # a speck that the reduction has thinned keeps its outline
    covered = (soft >= min(0.5, soft.max())).astype(np.uint8)
    inner = cv2.distanceTransform(covered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outer = cv2.distanceTransform(1 - covered, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.where(covered, inner - 0.5, 0.5 - outer).astype(np.float32) / _FINE
    distance = cv2.resize(distance, size[::-1], interpolation=cv2.INTER_AREA)
    if scale > 1:  # what sticks out further than a stair stays
        distance = np.maximum(cv2.GaussianBlur(distance, (0, 0), _SMOOTH * scale), distance - _STAIR * scale)
    return distance


def _coverage(distance: np.ndarray) -> np.ndarray:
    """How much of a pixel lies inside an edge at this distance (pixels): 0 to 1."""
    return np.clip(distance + 0.5, 0, 1)


def _panel_size(shape: tuple[int, ...], min_side: int, max_side: int) -> tuple[int, int]:
    """Height and width at which an image is drawn."""
    height, width = shape
    factor = float(max(1, math.ceil(min_side / min(height, width))))
    factor = min(factor, max_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[:2] == tuple(size):
        return image
    enlarged = size[0] > image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA)


def _resize_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A mask (h, w) -> (H, W) bool by nearest neighbours."""
    mask = np.asarray(mask) != 0
    if mask.shape == tuple(size):
        return mask
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def _beside(images: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Images of one width from left to right, with their lower edges in line."""
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    row, left = np.full((height, width, 3), PAPER, np.uint8), 0
    for image in images:
        row[height - image.shape[0] :, left : left + image.shape[1]] = image
        left += image.shape[1] + gap
    return row


def _above(images: Sequence[np.ndarray], gap: int = 0, width: int = 0) -> np.ndarray:
    """Images from top to bottom, with their left edges in line, `width` pixels wide at least."""
    width = max(width, *(image.shape[1] for image in images))
    height = sum(image.shape[0] for image in images) + gap * (len(images) - 1)
    column, top = np.full((height, width, 3), PAPER, np.uint8), 0
    for image in images:
        column[top : top + image.shape[0], : image.shape[1]] = image
        top += image.shape[0] + gap
    return column
