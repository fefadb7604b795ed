"""From logits to the foreground's probability at the size of the image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmagnet.utils.letterbox import letterbox_matrices


def restore_letterboxed(logit: Tensor, square: int, size: Sequence[int]) -> Tensor:
    """The foreground's probability at the size of an image that was letterboxed [O].

    Probabilities are resized, not logits: bicubic to the square, corners aligned, then by OpenCV's affine warp.

    Args:
        logit: Foreground logits at the decode head's own size, (1, h, w).
        square: Side S of the network's input, pixels.
        size: H_0 and W_0 of the image, pixels.

    Returns:
        (1, H_0, W_0) float32. Bicubic, so it may leave 0..1 a little.
    """
    whole = upsample(logit.float().sigmoid(), square)
    _, back = letterbox_matrices(size[0], size[1], square)
    restored = cv2.warpAffine(whole[0].cpu().numpy(), back, (size[1], size[0]), flags=cv2.INTER_CUBIC, borderValue=0)
    return torch.from_numpy(restored)[None].to(logit.device)


def upsample(probability: Tensor, square: int) -> Tensor:
    """Probabilities (1, h, w) at the size of the network's input, (1, S, S): bicubic, corners aligned."""
    return F.interpolate(probability[None], (square, square), mode='bicubic', align_corners=True)[0]
