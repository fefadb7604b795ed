"""Images, decoded no larger than needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from mmmagnet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadReducedImage(BaseTransform):
    """Load an image; a JPEG at 1/2, 1/4 or 1/8 of its size where that is no smaller than `scale`.

    The decoder leaves out the frequencies that a smaller image does not show, which saves most of the work on large
    photographs. Pixels differ a little from those of the whole image resized, so use this for training only. An image
    that is not twice as large as `scale` is decoded whole, bit for bit as by
    ``LoadImageFromFile(color_type='color_ignore_orientation', imdecode_backend='pillow')``. EXIF orientation is
    ignored, as annotations ignore it.

    Required key: ``img_path``.
    Added keys: ``img`` (H', W', 3) uint8, BGR; ``img_shape``, H' and W'; ``ori_shape``, height and width of the file.

    Args:
        scale: Width and height that a later `Resize` gives, pixels.

    Raises:
        OSError: If the file is missing, is cut off or is not an image.

    Example:
        >>> LoadReducedImage(scale=(480, 480))(dict(img_path='2000_by_1500.jpg'))['img'].shape
        (750, 1000, 3)
    """

    def __init__(self, scale: Sequence[int]) -> None:
        width, height = scale
        self.scale = (width, height)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the image."""
        content = Path(results['img_path']).read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            image.draft(None, self.scale)  # to the smallest that is no smaller; other formats than JPEG have none
            if image.size != (width, height) and image.mode == 'RGB':
                pixels = np.asarray(image)[:, :, ::-1]
            else:
                pixels = mmcv.imfrombytes(content, flag='color_ignore_orientation', backend='pillow')
        results['img'] = pixels
        results['img_shape'] = pixels.shape[:2]
        results['ori_shape'] = (height, width)
        return results
