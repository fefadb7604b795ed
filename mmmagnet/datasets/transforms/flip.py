"""Mirrored images and their expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmmagnet.registry import TRANSFORMS

from .left_right import swap_left_right


@TRANSFORMS.register_module()
class ReferringRandomFlip(BaseTransform):
    """Mirror image and mask from left to right at random, and swap left and right in the expression.

    The image stays as it is where no rule tells a mirrored expression (`swap_left_right`). Put this transform after
    `LoadReferringMask` and `SampleExpression`, before `TokenizeExpression`.

    Required keys: ``img`` (H, W, 3), ``gt_seg_map`` (H, W), ``expression``, ``rng``. Changed keys: the first three.

    Args:
        prob: Probability of mirroring, where the expression allows it.

    Raises:
        ValueError: If `prob` is no probability, or the transform stands elsewhere in the pipeline.

    Example:
        >>> image, mask = np.zeros((4, 6, 3), np.uint8), np.eye(4, 6, dtype=np.uint8)
        >>> results = dict(img=image, gt_seg_map=mask, expression='left man', rng=np.random.default_rng(0))
        >>> ReferringRandomFlip(prob=1.0)(results)['expression']
        'right man'
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'ReferringRandomFlip: prob={prob} is not between 0 and 1')
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirror with probability `prob`."""
        for key, transform in (('gt_seg_map', 'LoadReferringMask'), ('expression', 'SampleExpression')):
            if key not in results:
                raise ValueError(f'ReferringRandomFlip: no {key} yet; put it after {transform} in the pipeline')
        if 'input_ids' in results:
            raise ValueError('ReferringRandomFlip: the words are tokens already; put it before TokenizeExpression')
        if results['rng'].random() >= self.prob:
            return results
        several = isinstance(results['expression'], list)
        swapped = [swap_left_right(text) for text in (results['expression'] if several else [results['expression']])]
        if None not in swapped:
            results['expression'] = swapped if several else swapped[0]
            for key in ('img', 'gt_seg_map'):
                results[key] = np.ascontiguousarray(results[key][:, ::-1])
        return results
