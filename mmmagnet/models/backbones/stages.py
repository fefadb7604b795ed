"""A staged image encoder run alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run_stages(backbone: Any, inputs: Tensor) -> list[Tensor]:
    """Run a staged encoder without any fusion.

    Args:
        backbone: With `stem`, `forward_stage` and `downsample`.
        inputs: Images (B, 3, H, W).

    Returns:
        Maps (B, C_i, H_i, W_i), fine to coarse.
    """
    image, maps = backbone.stem(inputs), []
    for stage in range(backbone.num_stages):
        image = backbone.forward_stage(stage, image)
        maps.append(image.permute(0, 3, 1, 2))
        image = backbone.downsample(stage, image)
    return maps
