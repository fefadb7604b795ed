"""The mask of what an expression means."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from pycocotools import mask as coco_mask

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils import DataError


@TRANSFORMS.register_module()
class LoadReferringMask(BaseTransform):
    """Merge the segmentations of a ref into one mask, at the size of the annotated picture.

    Before `Resize` it is resized with the picture; after it, it keeps the original size.

    Required keys: ``segmentations``, ``height``, ``width``, ``img_path``, ``ori_shape``, ``ref_id``.
    Added keys: ``gt_seg_map`` (H_0, W_0) uint8, 1 in the mask; its name is added to ``seg_fields``.

    Args:
        allow_empty: Accept a mask without pixels (a set with expressions that mean nothing).

    Raises:
        DataError: If picture and annotation differ in size, or the mask has no pixels.
    """

    def __init__(self, allow_empty: bool = False) -> None:
        self.allow_empty = allow_empty

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the mask."""
        height, width = results['height'], results['width']
        if tuple(results['ori_shape'][:2]) != (height, width):
            raise DataError(
                f'{results["img_path"]}: is {results["ori_shape"][1]} x {results["ori_shape"][0]} pixels, '
                f'instances.json says {width} x {height}; the images are of another set, or the file was changed'
            )
        try:
            mask = merge_segmentations(results['segmentations'], height, width)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f'ref {results["ref_id"]} of {results["img_path"]}: segmentation is neither polygons nor RLE of this '
                f'size ({error}); convert the set again'
            ) from error
        if not self.allow_empty and not mask.any():
            raise DataError(f'ref {results["ref_id"]} of {results["img_path"]}: its mask has no pixels; remove the ref')
        results['gt_seg_map'] = mask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def merge_segmentations(segmentations: list, height: int, width: int) -> np.ndarray:
    """Union of COCO segmentations.

    Args:
        segmentations: Each a list of polygons [x1, y1, x2, y2 ...] or an RLE, compressed or not.
        height: H.
        width: W.

    Returns:
        (H, W) uint8, 1 inside.

    Raises:
        ValueError: If an RLE has another size.
    """
    parts = []
    for segmentation in segmentations:
        if isinstance(segmentation, list):
            parts += coco_mask.frPyObjects(segmentation, height, width)
        elif isinstance(segmentation['counts'], list):
            parts.append(coco_mask.frPyObjects(segmentation, height, width))
        else:
            parts.append(segmentation)
    if any(tuple(part['size']) != (height, width) for part in parts):
        raise ValueError(f'RLE of another size than {height} x {width}')
    if not parts:
        return np.zeros((height, width), np.uint8)
    return coco_mask.decode(coco_mask.merge(parts))
