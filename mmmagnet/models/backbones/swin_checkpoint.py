"""ImageNet weights of Swin, from the layouts in which they are published, into `StagedSwin`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from mmengine.logging import print_log
from torch import Tensor

from mmmagnet.utils.checkpoint import load_checked, read_checkpoint
from mmmagnet.utils.errors import CheckpointError

if TYPE_CHECKING:
    from .staged_swin import StagedSwin

# (published name, our name); the first rules are the Swin authors', the second mmseg's and mmpretrain's
_AUTHORS = [
    (r'^layers\.(\d+)\.blocks\.(\d+)\.', r'stages.\1.\2.'),
    (r'\.mlp\.fc1\.', '.mlp.0.'),
    (r'\.mlp\.fc2\.', '.mlp.2.'),
    (r'^layers\.(\d+)\.downsample\.', r'downsamples.\1.'),
]
_OPENMMLAB = [
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^stages\.(\d+)\.blocks\.(\d+)\.', r'stages.\1.\2.'),
    (r'\.attn\.w_msa\.', '.attn.'),
    (r'\.ffn\.layers\.0\.0\.', '.mlp.0.'),
    (r'\.ffn\.layers\.1\.', '.mlp.2.'),
    (r'^stages\.(\d+)\.downsample\.', r'downsamples.\1.'),
]
# entries of an ImageNet classifier that a staged encoder has no place for
_UNUSED = re.compile(r'^(head\.|fc\.|norm\d?\.|.*relative_position_index$|.*attn_mask$)')


def load_swin_checkpoint(backbone: StagedSwin, path: str, partial: bool = False) -> None:
    """Fill a `StagedSwin` from a file of ImageNet weights.

    Args:
        backbone: The encoder; every weight of it is overwritten.
        path: A checkpoint of the Swin authors, of mmseg or of mmpretrain.
        partial: Accept a file that leaves weights of the encoder as they are, or has others beside.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, misses a weight, or has one of another shape or unknown name.
    """
    entries = read_checkpoint(path)
    try:
        weights = convert_swin(entries)
    except RuntimeError as error:
        raise CheckpointError(
            f'{path}: a downsampling weight has no four neighbours ({error}): get it again'
        ) from error
    own = backbone.state_dict()
    for name in [name for name in weights if name.endswith('relative_position_bias_table') and name in own]:
        if weights[name].dim() == 2 and round(len(weights[name]) ** 0.5) ** 2 == len(weights[name]) > 0:
            weights[name] = resize_bias_table(weights[name], own[name].shape[0])  # others are of another shape, below
    fix = 'give `pretrained` of the backbone a Swin of its size, or set `partial=True` to take what fits'
    missing = load_checked(backbone, weights, path, fix, partial=partial)
    left = f', {len(missing)} left as they were: {", ".join(missing)}' if missing else ''
    print_log(f'image encoder: {len(own) - len(missing)} weights from {path}{left}', logger='current')


def convert_swin(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state dict to `StagedSwin`'s names.

    mmseg and mmpretrain take the four neighbours of a patch merging row by row, channel by channel (`nn.Unfold`); their
    downsampling weights are put into the Swin authors' order.
    """
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in entries) else ''
    entries = {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}
    openmmlab = any(name.startswith('stages.') for name in entries)
    converted = {}
    for name, value in entries.items():
        if _UNUSED.match(name):
            continue
        target = name
        for pattern, replacement in _OPENMMLAB if openmmlab else _AUTHORS:
            target = re.sub(pattern, replacement, target)
        if openmmlab and target.startswith('downsamples.'):
            value = _neighbours_last_to_first(value)
        converted[target] = value
    return converted


def _neighbours_last_to_first(value: Tensor) -> Tensor:
    """Reorder the last axis, 4C, from (channel, row, column) to (column, row, channel)."""
    value = value.unflatten(-1, (-1, 2, 2))
    return value.movedim((-1, -2, -3), (-3, -2, -1)).flatten(-3).contiguous()


def resize_bias_table(table: Tensor, length: int) -> Tensor:
    """Bicubic resize of a relative position bias table ((2M - 1)^2, heads) to another window size."""
    if table.shape[0] == length:
        return table
    side, target = round(table.shape[0] ** 0.5), round(length**0.5)
    grid = table.float().t().reshape(1, -1, side, side)
    grid = torch.nn.functional.interpolate(grid, (target, target), mode='bicubic', align_corners=False)
    return grid.flatten(2)[0].t().contiguous()
