"""Batches: words trimmed to the longest expression, images shared by expressions, and images of several sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmmagnet.registry import MODELS


@MODELS.register_module()
class ReferringPreProcessor(SegDataPreProcessor):
    """mmseg's preprocessor that also trims the words of a batch to its longest expression.

    Padded words cost time and change nothing. The length is read before the batch goes to the device, so that nothing
    waits for the device. A training image with several expressions (`SampleExpression`) becomes as many data samples.

    Args:
        mean: Mean of R, G and B, 0 to 255.
        std: Standard deviation of R, G and B.
        bgr_to_rgb: Whether images come as BGR.
        size: In training, images are padded to this height and width, in pixels.
        size_divisor: In training, sides are padded to multiples of it, in pixels.
        pad_val: Value of padded pixels, after normalisation.
        seg_pad_val: Value of padded pixels of the mask. 255 is unknown, and counts in no loss.
        test_cfg: ``size`` or ``size_divisor`` of padding when testing; predictions leave it out again.
        trim_words: Whether to trim. `ReferringSegmentor` asks for False where a part reads padded words.
        words_divisor: Trimmed lengths are multiples of it. `torch.compile` compiles again for each new length and keeps
            8 versions, those of training and validation together: leave it few lengths, as 10 does with 20 words.
        share_images: Whether equal images of a test batch are encoded once, for a `ReferringSegmentor` only. It pays
            where no text reaches the image encoder: CARIS, CRIS. Without effect beside `test_cfg`.

    Raises:
        ValueError: If both `size` and `size_divisor` are given, or `words_divisor` is below 1.

    Example:
        >>> preprocessor = ReferringPreProcessor(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True)
        >>> data = preprocessor({'inputs': images, 'data_samples': samples}, training=True)
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bgr_to_rgb: bool = False,
        size: Sequence[int] | None = None,
        size_divisor: int | None = 1,
        pad_val: float = 0,
        seg_pad_val: int = 255,
        test_cfg: dict | None = None,
        trim_words: bool = True,
        words_divisor: int = 1,
        share_images: bool = False,
    ) -> None:
        size_divisor = size_divisor or 1
        if size is not None and size_divisor > 1:
            raise ValueError(f'size={size!r} and size_divisor={size_divisor}: give one of them')
        if words_divisor < 1:
            raise ValueError(f'words_divisor={words_divisor}: expected 1 or more')
        super().__init__(
            mean=mean,
            std=std,
            bgr_to_rgb=bgr_to_rgb,
            size=None if size is None else tuple(size),
            size_divisor=size_divisor if size is None else None,
            pad_val=pad_val,
            seg_pad_val=seg_pad_val,
            test_cfg=test_cfg,
        )
        # an argument of MMEngine's that mmseg's does not hand on: a batch goes to the GPU while the last step runs
        self._non_blocking = True
        self.trim_words = trim_words
        self.words_divisor = words_divisor
        self.share_images = share_images

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Normalise and stack as mmseg does; then trim the words, and say which image each expression has.

        Args:
            data: ``inputs``, M images (3, H, W), and ``data_samples`` with `input_ids` and `word_mask`, (L,) or, of K
                expressions, (K, L).
            training: Whether to pad to `size_divisor`.

        Returns:
            ``inputs`` (M, 3, H, W), equal ones once if they are shared, and ``data_samples``, one for each expression,
            with `input_ids` and `word_mask` of one length, L or less, and, of shared images, `image_index`.
        """
        samples = data.get('data_samples')
        length = _longest(samples, self.words_divisor) if self.trim_words else None
        places = None
        if self.share_images and samples and not (training or self.test_cfg or 'image_index' in samples[0]):
            images, places = _distinct(data['inputs'])
            data = {**data, 'inputs': images}
        data = super().forward(data, training)
        samples = data['data_samples']  # copies of what was given
        if length is not None:
            for sample in samples:
                sample.set_data(
                    {'input_ids': sample.input_ids[..., :length], 'word_mask': sample.word_mask[..., :length]}
                )
        if samples and 'input_ids' in samples[0] and samples[0].input_ids.dim() == 2:
            places = [place for place, sample in enumerate(samples) for _ in sample.input_ids]
            data['data_samples'] = samples = [one for sample in samples for one in _expressions(sample)]
        if places is not None and len(data['inputs']) < len(samples):
            index = torch.tensor(places).to(data['inputs'].device, non_blocking=True)
            for sample, place in zip(samples, index, strict=True):
                sample.image_index = place
        return data


def _distinct(images: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Images without those equal to an earlier one, and the place of each image among them."""
    found: list[Tensor] = []
    places = []
    for image in images:
        place = next((place for place, other in enumerate(found) if torch.equal(other, image)), len(found))
        if place == len(found):
            found.append(image)
        places.append(place)
    return found, places


def _expressions(sample: SegDataSample) -> list[SegDataSample]:
    """A data sample for each of a sample's K expressions; they share the mask."""
    samples = []
    for number, (ids, mask) in enumerate(zip(sample.input_ids, sample.word_mask, strict=True)):
        one = sample.clone()
        one.set_data({'input_ids': ids, 'word_mask': mask})
        if 'expression' in sample:
            one.set_metainfo({'expression': sample.expression[number]})
        samples.append(one)
    return samples


def _longest(samples: Sequence[Any] | None, divisor: int) -> int | None:
    """Words up to the last real one of all expressions, rounded up; None where telling would wait for a device."""
    masks = [sample.get('word_mask') for sample in samples or []]
    if not masks or any(mask is None or not mask.is_cpu or mask.shape != masks[0].shape for mask in masks):
        return None
    real = torch.stack(masks).flatten(0, -2).any(0).nonzero()
    return math.ceil((int(real[-1]) + 1) / divisor) * divisor if len(real) else None


@MODELS.register_module()
class MultiSizePreProcessor(ReferringPreProcessor):
    """`ReferringPreProcessor` that squashes each training batch to a square of random size.

    One size serves a batch on all processes: it follows from seed and iteration alone, also after an interruption.
    Let the pipeline squash to the largest size, so that batches are only made smaller. Test images stay as they are.

    Args:
        sizes: Sides to choose from, each as likely, in pixels.
        seed: Seed of the sizes.
        **settings: Those of `ReferringPreProcessor`; images are padded before the squash.

    Raises:
        ValueError: If `sizes` are none, or below 1.

    Example:
        >>> preprocessor = MultiSizePreProcessor(sizes=(384, 416, 448, 480))
        >>> preprocessor({'inputs': images, 'data_samples': samples}, training=True)['inputs'].shape
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
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
            squashed = F.interpolate(mask[None].float(), size, mode='nearest-exact')[0].to(mask.dtype)
            sample.gt_sem_seg = PixelData(data=squashed)
            sample.set_metainfo({'img_shape': size, 'pad_shape': size})
        return data
