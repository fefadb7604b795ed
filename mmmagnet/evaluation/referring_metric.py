"""Scores of referring segmentation."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask
from torch import Tensor

from mmmagnet.registry import METRICS
from mmmagnet.utils import DataError

_THRESHOLDS = (5, 6, 7, 8, 9)  # tenths, so that IoU >= X is decided in whole numbers


@METRICS.register_module()
class ReferringSegMetric(BaseMetric):
    """oIoU, mIoU and P@X over all (object, expression) pairs (DESIGN section 2).

    With I and U the pixels of intersection and union of a pair: ``oIoU = sum(I) / sum(U)``, ``mIoU = mean(I / U)``,
    ``P@X`` the share of pairs with I / U >= X; a pair with U = 0 scores 0. All in percent. Each pair counts once,
    whatever the sampler pads and however many processes score.

    Args:
        resolution: ``'input'``: at the size of the network's input, the ground truth resized nearest (the protocol of
            the published numbers); ``'original'``: at the size of the picture.
        dump: File to which each pair is written as a line of JSON, with its predicted mask as compressed RLE at the
            scored resolution.
        prefix: Before the names of the scores.
        collect_device: As of every MMEngine metric.
    """

    def __init__(
        self,
        resolution: str = 'input',
        dump: str | None = None,
        prefix: str | None = 'ref',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if resolution not in ('input', 'original'):
            raise ValueError(f"resolution={resolution!r}: expected 'input' or 'original'")
        self.resolution = resolution
        self.dump = dump

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of a batch.

        Args:
            data_batch: Not read.
            data_samples: What `ReferringSegmentor.predict` returns, as dicts.

        Raises:
            DataError: If a ground truth has not the scored resolution.
        """
        counts, masks = [], []
        for sample in data_samples:
            predicted, truth = self._pair(sample)
            counts.append(torch.stack([(predicted & truth).sum(), (predicted | truth).sum()]))
            masks.append(predicted)
        # the one transfer from the device
        for sample, mask, (intersection, union) in zip(data_samples, masks, torch.stack(counts).tolist(), strict=True):
            pair = {
                'sample_idx': sample['sample_idx'],
                'intersection': intersection,
                'union': union,
                'size': tuple(mask.shape),
            }
            if self.dump is not None:
                pair.update(_describe(sample, mask))
            self.results.append(pair)

    def evaluate(self, size: int) -> dict[str, float]:
        """Scores of the whole dataset.

        Args:
            size: Number of items of the dataset.

        Returns:
            ``ref/oIoU`` and so on, on every process.

        Raises:
            RuntimeError: If not every item was scored.
        """
        gathered = {pair['sample_idx']: pair for results in all_gather_object(self.results) for pair in results}
        self.results.clear()
        if len(gathered) != size:
            raise RuntimeError(
                f'{len(gathered)} of {size} pairs were scored: the sampler must visit every item of one dataset '
                '(use DefaultSampler)'
            )
        pairs = [gathered[index] for index in sorted(gathered)]
        scores = self.compute_metrics(pairs)
        if is_main_process():
            self._report(scores, pairs)
            if self.dump is not None:
                _write_lines(Path(self.dump), pairs)
        return {f'{self.prefix}/{name}' if self.prefix else name: score for name, score in scores.items()}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Scores of some pairs, each with ``intersection`` and ``union``."""
        inter = np.array([pair['intersection'] for pair in results], np.int64)
        union = np.array([pair['union'] for pair in results], np.int64)
        iou = inter / np.maximum(union, 1)
        scores = {'oIoU': 100 * inter.sum() / max(union.sum(), 1), 'mIoU': 100 * iou.mean() if len(iou) else 0.0}
        for tenths in _THRESHOLDS:
            hit = (10 * inter >= tenths * union) & (union > 0)
            scores[f'P@{tenths / 10}'] = 100 * hit.mean() if len(hit) else 0.0
        return {**{name: float(score) for name, score in scores.items()}, 'pairs': len(results)}

    def _pair(self, sample: dict) -> tuple[Tensor, Tensor]:
        """Predicted and true mask of a sample, (H, W) bool at the scored resolution."""
        truth = sample['gt_sem_seg']['data'][0] == 1
        if self.resolution == 'original':
            predicted = sample['pred_sem_seg']['data'][0].bool()
            if truth.shape != predicted.shape:
                raise DataError(
                    f'{sample.get("img_path")}: ground truth {tuple(truth.shape)} has not the original size '
                    f'{tuple(predicted.shape)}; put LoadReferringMask after Resize in the test pipeline'
                )
            return predicted, truth.to(predicted.device)
        predicted = sample['seg_logits']['data'][0] > 0
        return predicted, resize_nearest(truth.to(predicted.device), predicted.shape)

    def _report(self, scores: dict[str, float], pairs: list[dict]) -> None:
        sizes = {pair['size'] for pair in pairs}
        size = ' x '.join(map(str, sizes.pop())) if len(sizes) == 1 else 'each picture its own'
        values = ', '.join(f'{name} {score:.2f}' for name, score in scores.items() if name != 'pairs')
        name = f'{self.prefix} scores' if self.prefix else 'scores'
        MMLogger.get_current_instance().info(
            f'{name} at {self.resolution} resolution ({size}): {values}, {scores["pairs"]} pairs'
        )


def resize_nearest(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a mask as Pillow's nearest does, to the pixel, on any device.

    Pillow adds the step up from pixel to pixel, in double precision. Where a centre falls exactly between two pixels
    (every third one from 640 to 480) the sum's rounding decides, and ``F.interpolate(mode='nearest-exact')`` differs.

    Args:
        mask: (h, w).
        size: H and W.

    Returns:
        (H, W).
    """
    for axis, (old, new) in enumerate(zip(mask.shape, size, strict=True)):
        if old != new:
            step = old / new
            centres = np.cumsum(np.concatenate([[step / 2], np.full(new - 1, step)]))
            mask = mask.index_select(axis, torch.from_numpy(centres.astype(np.int64)).to(mask.device))
    return mask


def _describe(sample: dict, mask: Tensor) -> dict[str, Any]:
    """What a dump tells of a pair beside its counts."""
    rle = coco_mask.encode(np.asfortranarray(mask.cpu().numpy().astype(np.uint8)))
    kept = {key: sample[key] for key in ('ref_id', 'sent_id', 'split', 'expression', 'family') if key in sample}
    return {
        **kept,
        'image': Path(sample['img_path']).name,
        'mask': {'size': list(rle['size']), 'counts': rle['counts'].decode()},
    }


def _write_lines(path: Path, pairs: list[dict]) -> None:
    """Write one line of JSON per pair, with its IoU, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        with temporary.open('w', encoding='utf-8') as file:
            for pair in pairs:
                line = {name: value for name, value in pair.items() if name != 'size'}
                line['iou'] = pair['intersection'] / pair['union'] if pair['union'] else 0.0
                file.write(json.dumps(line, ensure_ascii=False) + '\n')
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
