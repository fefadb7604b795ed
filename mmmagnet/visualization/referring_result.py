"""What an expression refers to in an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmmagnet.utils.masks import encode_mask

from .panels import draw_panels


@dataclass(frozen=True)
class ReferringResult:
    """What an expression refers to in an image of H_0 x W_0 pixels.

    Attributes:
        expression: As it was given.
        mask: (H_0, W_0) bool, True = referred.
        box: The mask's (x_0, y_0, x_1, y_1) in pixels, x_1 and y_1 exclusive; None where it is empty.
        score: Mean foreground probability inside the mask, 0 to 1; 0 where the mask is empty. None of a model that
            gives none.
        target_score: Probability that the image has what is meant, 0 to 1; the mask is empty where it is below the
            model's threshold. None of a model that takes it for granted.
        image: The image, RGB (H_0, W_0, 3) uint8, which `draw` shows. None draws on black.

    Example:
        >>> result = ReferringResult('the cat', np.ones((2, 2), bool), (0, 0, 2, 2), score=0.875)
        >>> result.area_fraction, result.summary
        (1.0, '100.0 % of the pixels, score 0.88')
        >>> result.rle
        {'size': [2, 2], 'counts': '04'}
    """

    expression: str
    mask: np.ndarray
    box: tuple[int, int, int, int] | None
    score: float | None = None
    target_score: float | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    @property
    def area_fraction(self) -> float:
        """Fraction of the image's pixels that the mask covers, 0 to 1."""
        return float(self.mask.mean())

    @property
    def summary(self) -> str:
        """Area and scores in words."""
        scores = (('score', self.score), ('target', self.target_score))
        known = [f'{name} {value:.2f}' for name, value in scores if value is not None]
        return ', '.join([f'{100 * self.area_fraction:.1f} % of the pixels', *known])

    @property
    def rle(self) -> dict[str, Any]:
        """The mask as COCO's compressed run lengths: ``size`` [H_0, W_0] and ``counts``, text."""
        return encode_mask(self.mask)

    def draw(self) -> np.ndarray:
        """The image beside the mask laid over it, under the expression, RGB uint8."""
        image = np.zeros((*self.mask.shape, 3), np.uint8) if self.image is None else self.image
        return draw_panels(image, self.expression, pred_mask=self.mask, note=self.summary)
