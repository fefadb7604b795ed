"""Metric of referring segmentation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from torch import Tensor

from mmmagnet.registry import METRICS
from mmmagnet.utils.errors import DataError
from mmmagnet.utils.io import atomic_write
from mmmagnet.utils.masks import encode_mask

from .bootstrap import confidence_intervals
from .breakdown import breakdown
from .score_terms import score_terms

PROTOCOL = {
    'input': "masks at the size of the network's input, the ground truth resized nearest, foreground where logit > 0",
    'original': 'masks at the size of the image, the logits resized bilinear, foreground where logit > 0',
    'letterbox': 'masks at the size of the image, the probabilities warped back from the letterbox, foreground over '
    "the decode head's threshold",
}
_SCORES = (
    'each (object, expression) pair once, in percent: oIoU = sum I / sum U, mIoU = mean I / U (0 where U = 0), '
    'P@X = fraction with I / U >= X; with no-target pairs: gIoU = mean I / U (no target: 1 where the prediction is '
    'empty, else 0), N-acc = fraction of pairs without target whose prediction is empty, T-acc = fraction of pairs '
    'with target whose prediction is not'
)
# fields of a data sample that a pair keeps
_DESCRIPTION = ('ref_id', 'sent_id', 'split', 'expression', 'family', 'distractors', 'target_score')


@METRICS.register_module()
class ReferringSegMetric(BaseMetric):
    """oIoU, mIoU and P@X over all (object, expression) pairs, with gIoU, N-acc and T-acc (docs/evaluate.md).

    `score_terms` defines the scores. The last three exist if the set has pairs without target: pairs whose ground truth
    has no pixels before it is resized. Each pair counts once, whatever the sampler pads and however many processes
    score. Images are told apart by their whole path.

    Example:
        >>> test_evaluator = dict(type='ReferringSegMetric', resolution=['input', 'original'], out_file='pairs.jsonl')

    Attributes:
        report: After `evaluate`, for each resolution ``protocol``, ``size``, ``scores`` and, if requested,
            ``intervals`` and ``breakdown``.

    Args:
        resolution: ``'input'`` scores at the size of the network's input, with the ground truth resized nearest (the
            protocol of the published numbers). ``'original'`` scores at the size of the image. A list of both scores
            both in one pass: the first has plain names, the other names such as ``original/oIoU``.
        bootstrap: Number of resamples of images for a 95 % interval of each score (see `bootstrap`); 0 for none.
        breakdown: Whether groups of pairs are scored apart, in the report and the log (see `breakdown`).
        out_file: JSON lines file for the pairs, one line for each pair and resolution, with the predicted mask as
            compressed RLE. `compare_files` reads it.
        prefix: Prefix of the scores' names.
        collect_device: Device of MMEngine's result collection. It is not used: counts are gathered as Python numbers.
    """

    def __init__(
        self,
        resolution: str | Sequence[str] = 'input',
        bootstrap: int = 0,
        breakdown: bool = False,
        out_file: str | None = None,
        prefix: str | None = 'ref',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.resolutions = (resolution,) if isinstance(resolution, str) else tuple(resolution)
        if sorted(self.resolutions) not in (['input'], ['original'], ['input', 'original']):
            raise ValueError(f"resolution={resolution!r}: expected 'input', 'original', or both in a list")
        self.bootstrap = bootstrap
        self.breakdown = breakdown
        self.out_file = out_file
        self.report: dict[str, dict[str, Any]] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Batch; it is not read.
            data_samples: Results of `ReferringSegmentor.predict`, as dicts.

        Raises:
            DataError: If a ground truth does not have the scored resolution, or logits are missing.
        """
        counts, masks = [], []
        for sample, resolution in itertools.product(data_samples, self.resolutions):
            predicted, truth = _masks_at(sample, resolution)
            target = (sample['gt_sem_seg']['data'] == 1).any().to(predicted.device)
            counts.append(
                torch.stack([(predicted & truth).sum(), (predicted | truth).sum(), predicted.sum(), target.long()])
            )
            masks.append(predicted)
        # the one transfer from the device
        numbers = zip(masks, torch.stack(counts).tolist(), strict=True)
        for sample, resolution in itertools.product(data_samples, self.resolutions):
            mask, (intersection, union, pixels, target) = next(numbers)
            pair = {
                'sample_idx': sample['sample_idx'],
                'resolution': resolution,
                'intersection': intersection,
                'union': union,
                'predicted': pixels,
                'no_target': not target,
                'size': tuple(mask.shape),
                'image': str(sample['img_path']),
                'letterbox': 'letterbox' in sample,
                **{key: _plain(sample[key]) for key in _DESCRIPTION if key in sample},
            }
            if self.out_file is not None:
                pair['mask'] = encode_mask(mask.cpu().numpy())
            self.results.append(pair)

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of the whole dataset.

        Args:
            size: Number of items of the dataset.

        Returns:
            Scores in percent by name, such as ``ref/oIoU``, the same on every process.

        Raises:
            RuntimeError: If an item was not scored.
        """
        gathered = {
            (pair['sample_idx'], self.resolutions.index(pair['resolution'])): pair
            for results in all_gather_object(self.results)
            for pair in results
        }
        self.results.clear()
        scored = len(gathered) // len(self.resolutions)
        if scored != size:
            raise RuntimeError(
                f'{scored} of {size} pairs were scored: the sampler must visit every item of one dataset '
                '(use DefaultSampler)'
            )
        pairs = [gathered[key] for key in sorted(gathered)]
        scores = self.compute_metrics(pairs)
        if is_main_process():
            for resolution in self.resolutions:
                self._log(resolution)
            if self.out_file is not None:
                _write_lines(self.out_file, pairs)
        return {f'{self.prefix}/{name}' if self.prefix else name: score for name, score in scores.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Scores of some pairs by name; their full account becomes `report`."""
        scores: dict[str, float] = {}
        self.report = {}
        for resolution in self.resolutions:
            account = self._account([pair for pair in results if pair['resolution'] == resolution], resolution)
            before = f'{resolution}/' if self.report else ''
            self.report[resolution] = account
            scores.update({before + name: score for name, score in account['scores'].items()})
        return scores

    def _account(self, pairs: list[dict], resolution: str) -> dict[str, Any]:
        """Account of one resolution in the report."""
        terms = score_terms(pairs)
        sizes = {pair['size'] for pair in pairs}
        letterboxed = any(pair.get('letterbox') for pair in pairs)
        account: dict[str, Any] = {
            'protocol': f'{PROTOCOL["letterbox" if letterboxed else resolution]}; {_SCORES}',
            'size': ' x '.join(map(str, sizes.pop())) if len(sizes) == 1 else 'each image its own',
            'scores': {**terms.scores(), 'pairs': len(pairs)},
        }
        if self.bootstrap:
            images = [pair['image'] for pair in pairs]
            account['intervals'] = confidence_intervals(terms, images, self.bootstrap)
        if self.breakdown:
            account['breakdown'] = breakdown(pairs)
        return account

    def _log(self, resolution: str) -> None:
        account = self.report[resolution]
        name = f'{self.prefix} scores' if self.prefix else 'scores'
        where = f'at {resolution} resolution ({account["size"]})'
        values = _listed(account['scores'], account.get('intervals', {}))
        logger = MMLogger.get_current_instance()
        logger.info(f'{name} {where}: {values}')
        for title, groups in account.get('breakdown', {}).items():
            for label, scores in groups.items():
                logger.info(f'{name} {where}, {title} {label}: {_listed(scores, {})}')


def _listed(scores: dict[str, float], intervals: dict[str, tuple[float, float]]) -> str:
    """Scores as text, such as ``oIoU 71.20 [69.81, 72.66], ..., 8 pairs``."""
    parts = []
    for name, score in scores.items():
        if name != 'pairs':
            low_high = ' [{:.2f}, {:.2f}]'.format(*intervals[name]) if name in intervals else ''
            parts.append(f'{name} {score:.2f}{low_high}')
    return f'{", ".join(parts)}, {scores["pairs"]} pairs'


def _masks_at(sample: dict, resolution: str) -> tuple[Tensor, Tensor]:
    """Predicted mask and ground truth of a sample at a resolution, each (H, W) bool."""
    truth = sample['gt_sem_seg']['data'][0] == 1
    if resolution == 'original':
        predicted = sample['pred_sem_seg']['data'][0].bool()
        if truth.shape != predicted.shape:
            raise DataError(
                f'{sample.get("img_path")}: ground truth {tuple(truth.shape)} does not have the original size '
                f'{tuple(predicted.shape)}; put LoadReferringMask after Resize in the test pipeline'
            )
        return predicted, truth.to(predicted.device)
    if 'seg_logits' not in sample:
        raise DataError(
            "the model's predictions have no seg_logits (foreground logits at the input's size), which "
            "resolution='input' compares: let its predict set them, or score with resolution='original'"
        )
    if sample.get('letterbox'):
        raise DataError(
            f"{sample.get('img_path')}: is letterboxed, so its mask squashed to the input's size is no truth for it; "
            "score with resolution='original'"
        )
    predicted = sample['seg_logits']['data'][0] > 0
    return predicted, resize_nearest(truth.to(predicted.device), predicted.shape)


def resize_nearest(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Mask resized exactly as by Pillow's nearest, on any device.

    Pillow sums the step from pixel to pixel in double precision. Where a centre falls between two pixels (every third
    one from 640 to 480) the rounding of the sum decides, and ``F.interpolate(mode='nearest-exact')`` differs.

    Args:
        mask: Mask (h, w).
        size: H and W in pixels.

    Returns:
        Mask (H, W).
    """
    for axis, (old, new) in enumerate(zip(mask.shape, size, strict=True)):
        if old != new:
            step = old / new
            centres = np.cumsum(np.concatenate([[step / 2], np.full(new - 1, step)]))
            mask = mask.index_select(axis, torch.from_numpy(centres.astype(np.int64)).to(mask.device))
    return mask


def _plain(value: Any) -> Any:
    """A scalar tensor as a number, anything else as it is."""
    return value.item() if isinstance(value, Tensor) else value


def _write_lines(path: str, pairs: list[dict]) -> None:
    """Write the pairs as JSON lines, each with its IoU."""
    with atomic_write(path) as file:
        for pair in pairs:
            line = {name: value for name, value in pair.items() if name not in ('size', 'letterbox')}
            line['iou'] = pair['intersection'] / pair['union'] if pair['union'] else 0.0
            file.write(json.dumps(line, ensure_ascii=False) + '\n')
