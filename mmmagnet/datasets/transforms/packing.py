"""From a results dict to the inputs of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmmagnet.registry import TRANSFORMS
from mmmagnet.utils.errors import ConfigError


@TRANSFORMS.register_module()
class PackReferringInputs(BaseTransform):
    """Pack an image, its words and its mask.

    Returns ``inputs``, (3, H, W) uint8 in mmcv's BGR order, and ``data_samples``, a `SegDataSample`. Its data fields
    are ``gt_sem_seg`` (1, h, w) uint8, or float32 of a soft mask, where a mask was loaded, and ``input_ids`` and
    ``word_mask``, (L,) int64, or (K, L) of K expressions. Fields follow the batch to the device; metainfo does not.

    Required keys: ``img``, ``input_ids``, ``word_mask``.

    Args:
        meta_keys: Other keys to keep as metainfo, where they exist.

    Raises:
        ConfigError: If another transform than `ReferringRandomFlip` has flipped the image.

    Example:
        >>> words = dict(input_ids=np.array([2, 7, 3]), word_mask=np.ones(3, np.int64), expression='dog')
        >>> packed = PackReferringInputs()(dict(words, img=np.zeros((4, 6, 3), np.uint8)))
        >>> packed['inputs'].shape, packed['data_samples'].expression
        (torch.Size([3, 4, 6]), 'dog')
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'img_path',
            'ori_shape',
            'img_shape',
            'expression',
            'ref_id',
            'sent_id',
            'sample_idx',
            'split',
            'family',
            'distractors',
            'letterbox',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack the results."""
        if results.get('flip'):
            raise ConfigError(
                f'{results["img_path"]}: flipped by a transform that does not know words: "left" would point to the '
                'wrong thing; use ReferringRandomFlip'
            )
        sample = SegDataSample(metainfo={key: results[key] for key in self.meta_keys if key in results})
        sample.input_ids = torch.from_numpy(results['input_ids'])
        sample.word_mask = torch.from_numpy(results['word_mask'])
        if 'gt_seg_map' in results:
            mask = torch.from_numpy(np.ascontiguousarray(results['gt_seg_map']))
            sample.gt_sem_seg = PixelData(data=mask.unsqueeze(0))
        image = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        return {'inputs': image, 'data_samples': sample}
