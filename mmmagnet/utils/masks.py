"""Masks as COCO writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """RLE of a mask, as COCO's text.

    Example:
        >>> encode_mask(np.eye(2, dtype=bool))
        {'size': [2, 2], 'counts': '01102'}

    Args:
        mask: (H, W), anything but 0 is inside.
    """
    rle = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {'size': list(mask.shape), 'counts': rle['counts'].decode('ascii')}
