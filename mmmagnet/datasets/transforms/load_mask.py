"""The mask of the object that an expression refers to."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from pycocotools import mask as coco_mask

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils.errors import ConfigError, DataError

_FARTHEST = 2**16  # pixels; a polygon far outside takes pycocotools, and the process, with it


@TRANSFORMS.register_module()
class LoadReferringMask(BaseTransform):
    """Merge the segmentations of a ref into one mask, at the size of the annotated image.

    Before `Resize`, the mask is resized with the image; after `Resize`, it keeps the original size.

    Required keys: ``segmentations``, ``height``, ``width``, ``img_path``, ``ori_shape``, ``ref_id``.
    Added keys: ``gt_seg_map`` (H_0, W_0) uint8, 1 in the mask; ``seg_fields``, which lists it.

    Example:
        >>> LoadReferringMask(overlap='odd')  # to score a checkpoint that LAVT, MagNet or RMSIN released

    Args:
        allow_empty: Accept a mask without pixels, for sets with expressions that refer to nothing.
        overlap: What a pixel is that several outlines of one object cover. ``union``: in the mask. ``odd``: background,
            as in the released code of LAVT, MagNet and RMSIN, which sums the outlines and keeps what is 1.

    Raises:
        ValueError: If `overlap` is neither.
        ConfigError: If an image comes without a ref.
        DataError: If image and annotation differ in size, or the mask has no pixels.

    Example:
        >>> ref = dict(segmentations=[[[0, 0, 3, 0, 3, 2, 0, 2]]], height=4, width=6, img_path='1.jpg', ref_id=0)
        >>> print(LoadReferringMask()(dict(ref, ori_shape=(4, 6)))['gt_seg_map'].sum())
        6
    """

    def __init__(self, allow_empty: bool = False, overlap: str = 'union') -> None:
        if overlap not in ('union', 'odd'):
            raise ValueError(f"overlap={overlap!r}: give 'union' or 'odd'")
        self.allow_empty = allow_empty
        self.overlap = overlap

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the mask."""
        if 'segmentations' not in results:
            raise ConfigError(
                'LoadReferringMask: the image comes without a ref, as from mmseg.apis.inference_model; segment by an '
                'expression with mmmagnet.apis.ReferringInferencer'
            )
        height, width = results['height'], results['width']
        if tuple(results['ori_shape'][:2]) != (height, width):
            raise DataError(
                f'{results["img_path"]}: is {results["ori_shape"][1]} x {results["ori_shape"][0]} pixels (width x '
                f'height), instances.json says {width} x {height}: the folder of images belongs to another set, the '
                'file was changed, or its EXIF orientation was followed (load it with '
                "color_type='color_ignore_orientation')"
            )
        try:
            mask = merge_segmentations(results['segmentations'], height, width, self.overlap)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise DataError(
                f'ref {results["ref_id"]} of {results["img_path"]}: its segmentation is neither polygons nor RLE of '
                f'this size ({error}): fix the annotation and convert the set again'
            ) from error
        if not self.allow_empty and not mask.any():
            raise DataError(
                f'ref {results["ref_id"]} of {results["img_path"]}: its mask has no pixels: remove the ref, or set '
                'allow_empty=True'
            )
        results['gt_seg_map'] = mask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def merge_segmentations(segmentations: list, height: int, width: int, overlap: str = 'union') -> np.ndarray:
    """Union of the objects of COCO segmentations.

    Everything is checked before pycocotools sees it: its `merge` never returns, or takes the process with it, on an RLE
    that does not cover the image.

    Example:
        >>> merge_segmentations([[[0, 0, 2, 0, 2, 2, 0, 2]], {'size': [2, 4], 'counts': [7, 1]}], 2, 4).tolist()
        [[1, 1, 0, 0], [1, 1, 0, 1]]

    Args:
        segmentations: One for each object: a list of polygons [x1, y1, x2, y2 ...], an RLE, compressed or not, or a
            list of RLEs. Polygons of fewer than three points have no area and are passed over.
        height: H.
        width: W.
        overlap: ``union``, or ``odd``: pixels that several outlines of one object cover are background.

    Returns:
        (H, W) uint8, 1 inside.

    Raises:
        ValueError: If a polygon or RLE is damaged, or an RLE has another size.
        TypeError, KeyError, OverflowError: If a segmentation is neither polygons nor RLE.
    """
    objects: list[list[dict[str, Any]]] = []
    for segmentation in segmentations:
        polygons, rles = split_outlines(segmentation)
        polygons = [polygon for polygon in polygons if has_area(polygon)]
        parts = coco_mask.frPyObjects(polygons, height, width) if polygons else []
        for rle in rles:
            checked = {'size': rle['size'], 'counts': checked_runs(rle, height, width)}
            parts.append(coco_mask.frPyObjects(checked, height, width))
        objects.append(parts)
    mask = np.zeros((height, width), np.uint8)
    if overlap == 'odd':
        for parts in objects:
            mask |= sum((coco_mask.decode(part).astype(np.int64) for part in parts), np.zeros_like(mask)) == 1
    elif any(objects):
        mask = coco_mask.decode(coco_mask.merge([part for parts in objects for part in parts]))
    return mask


def split_outlines(segmentation: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """The polygons and the RLEs of a COCO segmentation, unchecked.

    COCO has a list of polygons or one RLE; refclef and RRSIS-D have a list of RLEs.

    Example:
        >>> split_outlines([{'size': [2, 2], 'counts': [3, 1]}])
        ([], [{'size': [2, 2], 'counts': [3, 1]}])
    """
    if not isinstance(segmentation, list):
        return [], [segmentation]
    rles = [part for part in segmentation if isinstance(part, dict)]
    return [part for part in segmentation if not isinstance(part, dict)], rles


def uncompress(counts: str | bytes) -> list[int]:
    """Run lengths, in pixels, of COCO's compressed RLE.

    A character holds five bits, the lowest first. From the fourth run on, the difference from the run before last is
    stored.

    Raises:
        ValueError: If the text ends within a run.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts.encode() if isinstance(counts, str) else counts:
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise ValueError('RLE: a run of more than 60 bits')
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError('RLE: its counts end within a run')
    return runs


def checked_runs(rle: dict[str, Any], height: int, width: int) -> list[int]:
    """Run lengths of an RLE; raises ValueError, TypeError or KeyError unless they cover H * W pixels."""
    if tuple(rle['size']) != (height, width):
        raise ValueError(f'RLE of size {rle["size"]!r:.60}, not {[height, width]}')
    counts = rle['counts']
    runs = counts if isinstance(counts, list) else uncompress(counts)
    if not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != height * width:
        raise ValueError(f'RLE: its counts are not runs of {height} * {width} pixels in all')
    return runs


def has_area(polygon: list[float]) -> bool:
    """Whether a polygon has three points; raises ValueError or TypeError unless it is pairs of numbers."""
    if len(polygon) % 2 or not all(abs(coordinate) <= _FARTHEST for coordinate in polygon):
        raise ValueError(f'polygon: not pairs of numbers up to {_FARTHEST}')
    return len(polygon) >= 6
