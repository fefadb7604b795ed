"""An expression, its ground truth and its prediction side by side, for every backend of MMEngine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw, ImageFont

from mmmagnet.registry import VISUALIZERS

GT_COLOR = (0, 200, 120)
PRED_COLOR = (235, 60, 190)
PAPER, INK, GAP = (255, 255, 255), (20, 20, 20), 4
MIN_WIDTH, MAX_CAPTION = 200, 400  # pixels, letters


@VISUALIZERS.register_module()
class ReferringVisualizer(Visualizer):
    """Draws data samples of referring segmentation as ``image | ground truth | prediction`` under their expression.

    Args:
        name: Name of the instance.
        vis_backends: MMEngine's backends that store the images.
        save_dir: Folder of the backends that need one.
        alpha: Opacity of the colour over a mask, 0 to 1.
        min_side: Smaller images are enlarged, by a whole factor, until their short side has this many pixels.
        max_side: Larger images are reduced until their long side has this many pixels.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        vis_backends: list | None = None,
        save_dir: str | None = None,
        alpha: float = 0.45,
        min_side: int = 240,
        max_side: int = 800,
    ) -> None:
        super().__init__(name=name, vis_backends=vis_backends, save_dir=save_dir)
        self.alpha, self.min_side, self.max_side = alpha, min_side, max_side

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | Path | None = None,
        step: int = 0,
    ) -> None:
        """Draw a sample and hand the image to a window, a file or all backends.

        Args:
            name: Name of the image for the backends.
            image: RGB, (H, W, 3) uint8.
            data_sample: With any of `gt_sem_seg`, `pred_sem_seg` (each (1, h, w), 1 = referred) and `expression`.
            draw_gt: Whether a panel shows the ground truth, where the sample has one.
            draw_pred: Whether a panel shows the prediction, where the sample has one.
            show: Whether a window shows the image.
            wait_time: Seconds the window stays; 0 = until a key is pressed.
            out_file: Write the image there instead of to the backends.
            step: Step under which the backends file the image.
        """
        drawn = draw_panels(
            image,
            expression=str(data_sample.get('expression', '')) if data_sample is not None else '',
            gt_mask=_mask_of(data_sample, 'gt_sem_seg') if draw_gt else None,
            pred_mask=_mask_of(data_sample, 'pred_sem_seg') if draw_pred else None,
            alpha=self.alpha,
            min_side=self.min_side,
            max_side=self.max_side,
        )
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            Path(out_file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(out_file)
        else:
            self.add_image(name, drawn, step)


def draw_panels(
    image: np.ndarray,
    expression: str,
    gt_mask: np.ndarray | None = None,
    pred_mask: np.ndarray | None = None,
    alpha: float = 0.45,
    min_side: int = 240,
    max_side: int = 800,
    note: str = '',
) -> np.ndarray:
    """The image of one expression: a caption above ``image | ground truth | prediction``.

    Args:
        image: RGB, (H, W, 3) uint8.
        expression: The caption; wrapped to the width.
        gt_mask: Non-zero = referred, (h, w) of any size; resized to (H, W) by nearest neighbours. None leaves it out.
        pred_mask: Likewise. With both, the caption ends with their IoU at (H, W), unless both are empty. The title of
            an empty one says that there is no target.
        alpha: Opacity of the colours, 0 to 1.
        min_side: Short side (pixels) to which smaller images are enlarged by a whole factor.
        max_side: Long side (pixels) to which larger images are reduced.
        note: A second paragraph of the caption.

    Returns:
        RGB uint8, as wide as its panels.
    """
    image = np.ascontiguousarray(image[..., :3], dtype=np.uint8)
    given = {'ground truth': gt_mask, 'prediction': pred_mask}
    masks = {title: _resize_mask(mask, image.shape[:2]) for title, mask in given.items() if mask is not None}
    if len(expression) > MAX_CAPTION:
        expression = expression[:MAX_CAPTION] + '\u2026'
    caption = [f'\u201c{expression}\u201d'] if expression else []
    if len(masks) == 2 and any(np.any(mask) for mask in given.values()):
        caption.append(f'IoU {mask_iou(masks["ground truth"], masks["prediction"]):.3f}')
    caption = [' \u00b7 '.join(caption), *([note] if note else [])]

    size = _panel_size(image.shape[:2], min_side, max_side)
    base = _resize_image(image, size)
    panels = {'image': base}
    for title, mask in masks.items():
        color = GT_COLOR if title == 'ground truth' else PRED_COLOR
        title += '' if np.any(given[title]) else ': no target'
        panels[title] = overlay_mask(base, _resize_mask(mask, size), color, alpha)
    font_size = max(13, min(size) // 20)
    columns = [np.concatenate([_text_strip([title], size[1], font_size), panel]) for title, panel in panels.items()]
    body = columns[0]
    for column in columns[1:]:
        gap = np.full((body.shape[0], GAP, 3), PAPER, np.uint8)
        body = np.concatenate([body, gap, column], axis=1)
    if body.shape[1] < MIN_WIDTH:  # room for the caption beside a narrow image
        margin = np.full((body.shape[0], MIN_WIDTH - body.shape[1], 3), PAPER, np.uint8)
        body = np.concatenate([body, margin], axis=1)
    if not any(caption):
        return body
    return np.concatenate([_text_strip(caption, body.shape[1], font_size + 2), body])


def overlay_mask(
    image: np.ndarray, mask: np.ndarray, color: tuple[int, int, int] = PRED_COLOR, alpha: float = 0.45
) -> np.ndarray:
    """Lay a translucent colour with a contour over a mask.

    Args:
        image: RGB, (H, W, 3) uint8.
        mask: (H, W), non-zero = covered.
        color: RGB.
        alpha: Opacity of the colour, 0 to 1; the contour is opaque.

    Returns:
        A new RGB image (H, W, 3) uint8.
    """
    covered = mask.astype(bool)
    drawn = image.copy()
    drawn[covered] = (drawn[covered] * (1 - alpha) + np.asarray(color) * alpha).astype(np.uint8)
    contours, _ = cv2.findContours(covered.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = max(2, round(min(image.shape[:2]) / 240))
    # a dark rim around the colour: on an image of the mask's own colour the contour still shows
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.drawContours(drawn, contours, -1, color, width, cv2.LINE_AA)
    return drawn


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks (H, W); 0 where both are empty."""
    first, second = first.astype(bool), second.astype(bool)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else 0.0


def _mask_of(data_sample: Any, field: str) -> np.ndarray | None:
    """The mask (h, w) in a data sample, or None."""
    if data_sample is None or field not in data_sample:
        return None
    data = data_sample.get(field).data
    return np.asarray(data.detach().cpu() if hasattr(data, 'detach') else data).squeeze(0) == 1


def _panel_size(shape: tuple[int, ...], min_side: int, max_side: int) -> tuple[int, int]:
    """Height and width at which an image is drawn."""
    height, width = shape
    factor = float(max(1, math.ceil(min_side / min(height, width))))
    factor = min(factor, max_side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    enlarged = size[0] > image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT if enlarged else cv2.INTER_AREA)


def _resize_mask(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A mask (h, w) -> (H, W) bool by nearest neighbours."""
    mask = np.asarray(mask).astype(bool)
    if mask.shape == tuple(size):
        return mask
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)


def _font(size: int) -> Any:
    """A font that knows more than latin letters: matplotlib, a dependency of MMEngine, brings DejaVu Sans."""
    try:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'), size)
    except (ImportError, OSError):  # no matplotlib, or a Pillow without FreeType
        return ImageFont.load_default(size)


def _text_strip(paragraphs: list[str], width: int, font_size: int) -> np.ndarray:
    """Wrapped dark text on a white strip of the given width (pixels)."""
    font, pad = _font(font_size), max(3, font_size // 4)
    lines = [line for text in paragraphs for line in _wrap(text, font, width - 2 * pad)]
    line_height = math.ceil(font_size * 1.3)
    strip = Image.new('RGB', (width, line_height * len(lines) + 2 * pad), PAPER)
    draw = ImageDraw.Draw(strip)
    for index, line in enumerate(lines):
        try:
            draw.text((pad, pad + index * line_height), line, INK, font)
        except UnicodeError:  # Pillow's built-in bitmap font knows latin-1 alone
            draw.text((pad, pad + index * line_height), line.encode('ascii', 'replace').decode(), INK, font)
    return np.asarray(strip)


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, inside a word where the word alone is wider."""

    def fits(line: str) -> bool:
        try:
            return font.getlength(line) <= width
        except UnicodeError:
            return font.getlength('m' * len(line)) <= width

    lines, line = [], ''
    for word in ' '.join(text.split()).split(' '):
        if line and fits(f'{line} {word}'):
            line = f'{line} {word}'
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and not fits(word):
            end = next((n for n in range(len(word) - 1, 1, -1) if fits(word[:n])), 1)
            lines.append(word[:end])
            word = word[end:]
        line = word
    return [*lines, line]
