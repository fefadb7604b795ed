"""Batches: sentences no longer than the longest of them, and images of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmseg.models import SegDataPreProcessor

from mmmagnet.registry import MODELS


@MODELS.register_module()
class ReferringPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor that cuts a batch's words behind the longest sentence: pads cost time and change nothing.

    The length is read before the batch goes to the device, which nobody has to wait for then.

    Args:
        mean: Of R, G and B.
        std: Of R, G and B.
        bgr_to_rgb: Images come as BGR.
        size_divisor: In training, pad sides to multiples of it.
        trim_words: Cut. A network compiled by `torch.compile` is compiled again for a new length, so set it to False
            there. `ReferringSegmentor` does so where its neck reads pads (``official_compat``).
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bgr_to_rgb: bool = False,
        size_divisor: int = 1,
        trim_words: bool = True,
    ) -> None:
        super().__init__(mean=mean, std=std, bgr_to_rgb=bgr_to_rgb, size_divisor=size_divisor)
        # an argument of MMEngine's that mmseg's does not hand on: a batch goes to the GPU while the last step runs
        self._non_blocking = True
        self.trim_words = trim_words

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise and stack as mmseg does; then cut.

        Args:
            data: ``inputs``, B images (3, H, W), and ``data_samples`` with `input_ids` and `word_mask` (L,).
            training: As of mmseg's.

        Returns:
            ``inputs`` (B, 3, H, W) and ``data_samples`` with `input_ids` and `word_mask` of one length, L or less.
        """
        length = _longest(data.get('data_samples')) if self.trim_words else None
        data = super().forward(data, training)
        if length is not None:
            for sample in data['data_samples']:  # copies of what was given
                sample.set_data({'input_ids': sample.input_ids[:length], 'word_mask': sample.word_mask[:length]})
        return data


def _longest(samples: Sequence[Any] | None) -> int | None:
    """Words up to the last real one of all sentences; None where that is not known without waiting for a device."""
    masks = [sample.get('word_mask') for sample in samples or []]
    if not masks or any(mask is None or not mask.is_cpu or mask.shape != masks[0].shape for mask in masks):
        return None
    real = torch.stack(masks).any(0).nonzero()
    return int(real[-1]) + 1 if len(real) else None


@MODELS.register_module()
class MultiSizePreProcessor(ReferringPreProcessor):
    """`ReferringPreProcessor` that squashes each training batch to a square of a size drawn for it.

    One size serves a batch, and all processes: it is drawn by seed and iteration alone, also after an interruption.
    Let the pipeline squash to the largest size: batches are only made smaller then. Nothing is changed at test time.

    Args:
        sizes: Sides to draw from, each as likely, in pixels.
        seed: Of the sizes.
        mean: Of R, G and B.
        std: Of R, G and B.
        bgr_to_rgb: Images come as BGR.
        size_divisor: In training, pad sides to multiples of it, before anything is squashed.
        trim_words: See `ReferringPreProcessor`.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seed: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bgr_to_rgb: bool = False,
        size_divisor: int = 1,
        trim_words: bool = True,
    ) -> None:
        super().__init__(mean, std, bgr_to_rgb, size_divisor, trim_words)
        if not sizes or min(sizes) < 1:
            raise ValueError(f'MultiSizePreProcessor: sizes={sizes!r} are not sides in pixels')
        self.sizes = tuple(sizes)
        self.seed = seed

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise and stack as mmseg does; then squash.

        Args:
            data: ``inputs``, B images (3, H, W), and ``data_samples`` with `gt_sem_seg` (1, H, W).
            training: Squash.

        Returns:
            ``inputs`` (B, 3, S, S) and ``data_samples`` with `gt_sem_seg` (1, S, S).
        """
        data = super().forward(data, training)
        if not training:
            return data
        iteration = MessageHub.get_current_instance().get_info('iter', 0)  # that of the Runner
        size = (int(np.random.default_rng((self.seed, iteration)).choice(self.sizes)),) * 2
        data['inputs'] = F.interpolate(data['inputs'], size, mode='bilinear', align_corners=False, antialias=True)
        for sample in data['data_samples']:
            mask = sample.gt_sem_seg.data
            del sample.gt_sem_seg.data  # a PixelData refuses another size in its place
            sample.gt_sem_seg.data = F.interpolate(mask[None].float(), size, mode='nearest-exact')[0].to(mask.dtype)
            sample.set_metainfo({'img_shape': size, 'pad_shape': size})
        return data
