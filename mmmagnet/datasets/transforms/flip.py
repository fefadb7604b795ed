"""Mirrored images, and what is said of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmmagnet.registry import TRANSFORMS

from ..randomness import generator_of
from .left_right import swap_left_right


@TRANSFORMS.register_module()
class ReferringRandomFlip(BaseTransform):
    """Mirror image and mask from left to right, and exchange left and right in the expression.

    An expression of which no rule tells what the mirrored image calls for (`swap_left_right`) keeps its image as it
    is. Stands after `LoadReferringMask` and `SampleExpression` and before `TokenizeExpression`.

    Required keys: ``img``, ``gt_seg_map``, ``expression``, ``draw``. Changed: the first three.

    Args:
        prob: Share of the visits that are mirrored, where the expression allows it.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'ReferringRandomFlip: prob={prob} is not between 0 and 1')
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mirror, or not."""
        for key, transform in (('gt_seg_map', 'LoadReferringMask'), ('expression', 'SampleExpression')):
            if key not in results:
                raise ValueError(f'ReferringRandomFlip: no {key} yet; put it after {transform} in the pipeline')
        if 'input_ids' in results:
            raise ValueError('ReferringRandomFlip: the words are tokens already; put it before TokenizeExpression')
        if generator_of(results['draw'], 'ReferringRandomFlip').random() >= self.prob:
            return results
        swapped = swap_left_right(results['expression'])
        if swapped is not None:
            results['expression'] = swapped
            for key in ('img', 'gt_seg_map'):
                results[key] = np.ascontiguousarray(results[key][:, ::-1])
        return results
