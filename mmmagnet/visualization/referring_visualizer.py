"""An expression, its ground truth and its prediction side by side, for every backend of MMEngine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.visualization import Visualizer
from PIL import Image

from mmmagnet.registry import VISUALIZERS

from .panels import draw_panels


@VISUALIZERS.register_module()
class ReferringVisualizer(Visualizer):
    """Draws data samples of referring segmentation as ``image | ground truth | prediction`` under their expression.

    Its arguments are those of MMEngine's `Visualizer`.

    Example:
        >>> visualizer = ReferringVisualizer(name='docs')
        >>> visualizer.add_datasample('a', image, data_sample=sample, out_file='outputs/a.png')  # doctest: +SKIP
    """

    @classmethod
    def get_instance(cls, name: str, **settings: Any) -> ReferringVisualizer:
        """The instance of a name, as of all of MMEngine's. With settings a new one: a training logs into its folder."""
        if settings:
            cls._instance_dict.pop(name, None)
        return super().get_instance(name, **settings)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | Path | None = None,
        step: int = 0,
    ) -> None:
        """Draw a sample and hand the image to a window, a file or all backends.

        Args:
            name: Name of the image for the backends.
            image: RGB, (H, W, 3) uint8.
            data_sample: With any of `gt_sem_seg`, `pred_sem_seg` (each (1, h, w), 1 = referred) and `expression`.
            draw_gt: Whether a panel shows the ground truth, where the sample has one.
            draw_pred: Whether a panel shows the prediction, where the sample has one.
            show: Whether a window shows the image.
            wait_time: Seconds the window stays; 0 = until a key is pressed.
            out_file: Write the image there instead of to the backends.
            step: Step under which the backends file the image.
        """
        drawn = draw_panels(
            image,
            expression=str(data_sample.get('expression', '')) if data_sample is not None else '',
            gt_mask=_mask_of(data_sample, 'gt_sem_seg') if draw_gt else None,
            pred_mask=_mask_of(data_sample, 'pred_sem_seg') if draw_pred else None,
        )
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            Path(out_file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(out_file)
        else:
            self.add_image(name, drawn, step)


def _mask_of(data_sample: Any, field: str) -> np.ndarray | None:
    """The mask (h, w) in a data sample, or None."""
    if data_sample is None or field not in data_sample:
        return None
    data = data_sample.get(field).data
    return np.asarray(data.detach().cpu() if hasattr(data, 'detach') else data).squeeze(0) == 1
