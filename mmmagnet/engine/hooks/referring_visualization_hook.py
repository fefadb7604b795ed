"""Images of predictions, drawn during a test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmagnet.registry import HOOKS


@HOOKS.register_module()
class ReferringVisualizationHook(Hook):
    """Draws test samples with the runner's visualizer, one image for each expression, spread over the set.

    Unlike mmseg's `SegVisualizationHook` it limits the number of images and names them after ref and sentence. It
    reads images as the dataset does, without turning them by their EXIF orientation.

    Args:
        limit: Largest number of images in a run of the test loop, of the first process's samples. None draws all.
        out_dir: Folder of the images. None leaves them to the visualizer's backends.

    Example:
        >>> runner.register_hook(ReferringVisualizationHook(limit=20, out_dir='outputs'))  # doctest: +SKIP
    """

    def __init__(self, limit: int | None = None, out_dir: str | Path | None = None) -> None:
        self.limit = limit
        self.out_dir = Path(out_dir) if out_dir is not None else None
        self._seen = self._drawn = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Start counting."""
        self._seen = self._drawn = 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Draw the samples of a batch that are chosen: every n-th of the set."""
        samples = len(runner.test_dataloader.sampler)
        stride = 1 if self.limit is None else math.ceil(samples / max(1, self.limit))
        for sample in outputs or []:
            index = self._seen
            self._seen += 1
            if index % stride or (self.limit is not None and self._drawn >= self.limit):
                continue
            self._drawn += 1
            name = image_name(sample)
            image = mmcv.imread(sample.img_path, flag='color_ignore_orientation', channel_order='rgb', backend='pillow')
            runner.visualizer.add_datasample(
                name,
                image,
                data_sample=sample.cpu(),
                out_file=self.out_dir / f'{name}.png' if self.out_dir is not None else None,
                step=index,
            )


def image_name(sample: Any) -> str:
    """Name of a data sample, ``<split>_<image>_ref<id>_sent<id>``, as far as the sample knows these."""
    split, stem = str(sample.get('split', '')), Path(sample.img_path).stem
    parts = [
        '' if stem.startswith(split) else split,
        stem,
        f'ref{sample.ref_id}' if 'ref_id' in sample else '',
        f'sent{sample.sent_id}' if 'sent_id' in sample else '',
    ]
    return '_'.join(part for part in parts if part)
