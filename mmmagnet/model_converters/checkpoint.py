"""Released checkpoints of MagNet and LAVT: reading the files, and turning their entries into ours."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.errors import CheckpointError

from .names import UNUSED, released_name

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Release(NamedTuple):
    """What a released file holds.

    Attributes:
        kind: ``'magnet'`` or ``'lavt'``.
        entries: State dict by released names, without ``module.``; a text encoder of its own under ``text_encoder.``.
        settings: The training options that the file carries, if any.
    """

    kind: str
    entries: dict[str, Tensor]
    settings: dict[str, Any]


def read_release(path: str | Path) -> Release:
    """Read a released checkpoint; nothing in it is run.

    Args:
        path: A file with ``model``, and ``bert_model`` where the text encoder is kept apart (LAVT's first variant).

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, is damaged, holds objects that could run code, or is of another
            network.
    """
    content = load_file(path, allowed=[argparse.Namespace])
    if zipfile.is_zipfile(path):  # torch.load does not look at the checksums
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise CheckpointError(f'{path}: {damaged} in it has a wrong checksum: the file is damaged, get it again')
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: holds a {type(content).__name__}, expected a released checkpoint with `model`')
    if 'state_dict' in content:
        raise CheckpointError(f'{path}: is a checkpoint of MMEngine, not a released one: use it as it is')
    entries = _tensors(content.get('model', content), path, 'model')
    if any(name.startswith('image_model.') for name in entries):
        kind = 'magnet'
    elif any(name.startswith('backbone.layers.') for name in entries):
        kind = 'lavt'
    else:
        first = next(iter(entries), 'nothing')
        raise CheckpointError(
            f'{path}: model holds {first} and neither image_model.* (MagNet) nor backbone.layers.* (LAVT): '
            'give a checkpoint as their authors release it'
        )
    if content.get('bert_model') is not None:
        apart = _tensors(content['bert_model'], path, 'bert_model')
        if kind == 'magnet' or any(name.startswith('text_encoder.') for name in entries):
            raise CheckpointError(f'{path}: has two text encoders, one in model and one in bert_model')
        entries |= {f'text_encoder.{name}': value for name, value in apart.items()}
    settings = content.get('args')
    if isinstance(settings, argparse.Namespace):
        settings = vars(settings)
    return Release(kind, entries, settings if isinstance(settings, dict) else {})


def convert(
    entries: Mapping[str, Tensor], kind: str, wanted: Mapping[str, Tensor], source: str | Path = 'checkpoint'
) -> dict[str, Tensor]:
    """Turn released entries into those of one of our models.

    Args:
        entries: By released names.
        kind: ``'magnet'`` or ``'lavt'``.
        wanted: The state dict of a model of the same sizes, for its names and shapes. Entries that only the training
            of our own heads has (Mask Grounding) are left out of the result.
        source: For messages.

    Returns:
        name -> float32 tensor, in the order of `wanted`.

    Raises:
        CheckpointError: Naming the released entry that is missing, misshapen, no finite numbers, or unknown.
    """
    converted, used = {}, set()
    for name, own in wanted.items():
        released = released_name(name, kind)
        if name.endswith('num_batches_tracked'):  # counts steps, and is not in every file
            steps = entries.get(released, torch.zeros((), dtype=torch.int64))
            if steps.dim() or steps.is_floating_point() or not 0 <= int(steps) < 1 << 62:
                raise CheckpointError(f'{source}: {released} is no number of steps: the file is damaged')
            converted[name] = steps.long()
            used.add(released)
            continue
        if released not in entries:
            if name.startswith('auxiliary_head.'):
                continue
            raise CheckpointError(f'{source}: lacks {released} (here {name}): the file is not whole, get it again')
        value = entries[released]
        # 1-wide convolutions of the release are linear layers here
        fitting = value.flatten(1) if value.dim() > own.dim() == 2 else value
        if fitting.shape != own.shape:
            raise CheckpointError(
                f'{source}: {released} has shape {tuple(value.shape)}, the other entries ask for {tuple(own.shape)} '
                f'(here {name}): the file is damaged or of another network'
            )
        if value.dtype not in FLOATS:
            raise CheckpointError(f'{source}: {released} holds {value.dtype}, expected weights: the file is damaged')
        fitting = fitting.float()
        if not fitting.isfinite().all():
            raise CheckpointError(f'{source}: {released} has values that are not finite: the file is damaged')
        converted[name] = fitting.contiguous()
        used.add(released)
    unknown = [name for name in entries if name not in used and not UNUSED[kind].fullmatch(name)]
    if unknown:
        raise CheckpointError(
            f'{source}: has {len(unknown)} entries that {kind} lacks, the first is {unknown[0]}: '
            'the file is of another network'
        )
    return converted


def unused_entries(entries: Mapping[str, Tensor], kind: str, wanted: Mapping[str, Tensor]) -> list[str]:
    """Released names that `convert` leaves aside because nothing reads them."""
    used = {released_name(name, kind) for name in wanted}
    return [name for name in entries if name not in used]


def _tensors(entries: Any, path: str | Path, field: str) -> dict[str, Tensor]:
    if not isinstance(entries, dict):
        raise CheckpointError(f'{path}: {field} is a {type(entries).__name__}, expected a state dict (name -> tensor)')
    for name, value in entries.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f'{path}: {field}: the entry {name!r} is no tensor')
        if value.layout != torch.strided or value.device.type != 'cpu' or value.dtype not in FLOATS + INTEGERS:
            stored = f'{value.layout}, {value.dtype}, on {value.device}'
            raise CheckpointError(f'{path}: {field}: {name} is not a plain tensor of numbers but {stored}')
        if not value.numel() or value.untyped_storage().nbytes() < value.numel() * value.element_size():
            shape = tuple(value.shape)
            raise CheckpointError(f'{path}: {field}: {name} of shape {shape} has no numbers in the file: it is damaged')
    plain: dict[str, Tensor] = {}
    for name, value in entries.items():
        short = name.removeprefix('module.')
        if short in plain:
            raise CheckpointError(f'{path}: {field}: {short} is there twice, with and without module.: keep one')
        plain[short] = value
    return plain
