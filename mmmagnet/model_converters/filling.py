"""Weights and inputs of parity cases: functions of names, shapes and seeds."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

INTEGER_BUFFERS = ('relative_position_index', 'position_ids', 'num_batches_tracked')

Weight = Callable[[str, Sequence[int]], np.ndarray]
"""(released name, shape) -> float32 values."""


def noise_of(name: str, shape: Sequence[int]) -> np.ndarray:
    """Standard normal float32 noise of a shape, a function of a name."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    return np.asarray(random.standard_normal(tuple(shape)), np.float32)


def make_weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """Value of a released entry: float32 of `shape`, a function of name and shape."""
    noise = noise_of(name, shape)
    if name.endswith('running_var'):
        return np.abs(noise) + 0.5
    if name.endswith('relative_position_bias_table'):
        return 0.5 * noise
    if len(shape) >= 2:
        return noise / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * noise if name.endswith('.weight') else 0.1 * noise


def make_entries(manifest: Mapping[str, Sequence[int]], weight: Weight = make_weight) -> dict[str, Tensor]:
    """A released state dict, less its integer buffers."""
    return {
        name: torch.from_numpy(np.asarray(weight(name, shape), np.float32))
        for name, shape in manifest.items()
        if not name.endswith(INTEGER_BUFFERS)
    }


def make_inputs(settings: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Image (B, 3, H, W), input_ids (B, L) and word_mask (B, L) of a case."""
    random = np.random.RandomState(settings['seed'])
    batch, length = settings['batch'], settings['tokens']
    image = random.standard_normal((batch, 3, settings['height'], settings['width'])).astype(np.float32)
    ids = random.randint(5, settings['vocab_size'], size=(batch, length)).astype(np.int64)
    mask = np.arange(length) < np.asarray(settings['valid_tokens'])[:, None]
    return torch.from_numpy(image), torch.from_numpy(ids * mask), torch.from_numpy(mask.astype(np.int64))


def make_boxes(settings: Mapping[str, Any], boxes: Sequence[Sequence[tuple[slice, slice]]]) -> Tensor:
    """Ground truth (B, 1, H, W) int64: the union of each sample's boxes, as (rows, columns)."""
    masks = torch.zeros(settings['batch'], 1, settings['height'], settings['width'], dtype=torch.long)
    for mask, parts in zip(masks, boxes, strict=True):
        for rows, columns in parts:
            mask[0, rows, columns] = 1
    return masks
