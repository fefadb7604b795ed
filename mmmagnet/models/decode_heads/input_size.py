"""To which size logits go."""

from __future__ import annotations

from typing import Any

import torch


def input_size(batch_img_metas: list[dict[str, Any]]) -> tuple[int, int]:
    """H and W of the network's input, from mmseg's metainfo: ``pad_shape`` or ``img_shape``.

    Under sliding-window inference mmseg hands over the window's size as ``img_shape``, a `torch.Size`, beside the
    ``pad_shape`` of the image.
    """
    shape = batch_img_metas[0]['img_shape']
    if not isinstance(shape, torch.Size):
        shape = batch_img_metas[0].get('pad_shape') or shape
    return shape[0], shape[1]
