"""Images in the middle of a square, with their aspect kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils.letterbox import letterbox_matrices


@TRANSFORMS.register_module()
class Letterbox(BaseTransform):
    """Warp an image into the middle of a square, in the place of `Resize` (CRIS and DETRIS [O]).

    The image is warped bicubic. Masks among ``seg_fields`` are warped bilinear and become soft: float32, 0 to 1 in
    steps of 1 / 255. The segmentor warps its prediction back where it finds ``letterbox`` (`restore_letterboxed`).

    Required keys: ``img``; ``seg_fields``, where there is a mask.
    Added keys: ``letterbox``, the size; ``img_shape``.

    Args:
        size: Side S of the square, pixels.
        border: Colour around the image, 0 to 255 in the order of ``img``. Default: CLIP's mean, BGR.

    Example:
        >>> Letterbox(size=416)(dict(img=np.zeros((480, 640, 3), np.uint8)))['img'].shape
        (416, 416, 3)
    """

    def __init__(self, size: int, border: Sequence[int] = (104, 117, 123)) -> None:
        self.size = size
        self.border = tuple(border)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Warp image and masks."""
        height, width = results['img'].shape[:2]
        forward, _ = letterbox_matrices(height, width, self.size)
        square = (self.size, self.size)
        results['img'] = cv2.warpAffine(results['img'], forward, square, flags=cv2.INTER_CUBIC, borderValue=self.border)
        for field in results.get('seg_fields', ()):
            mask = cv2.warpAffine(255 * results[field], forward, square, flags=cv2.INTER_LINEAR, borderValue=0)
            results[field] = mask.astype(np.float32) / 255
        results['img_shape'] = square
        results['letterbox'] = self.size
        return results
