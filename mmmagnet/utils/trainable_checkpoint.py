"""Checkpoints without the frozen weights of the encoders, which their pretrained files hold already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import CheckpointError

FROZEN = 'frozen'
"""Entry of such a checkpoint: names of what it leaves out, and their digest."""

ENCODERS = ('backbone.', 'text_encoder.')


def drop_frozen(model: nn.Module, checkpoint: dict[str, Any]) -> None:
    """Leave the frozen weights of both encoders out of a checkpoint's state dict, in place.

    Args:
        model: The network that was trained.
        checkpoint: With `state_dict`.
    """
    weights = dict(checkpoint['state_dict'])
    frozen = [
        name for name, weight in model.named_parameters() if not weight.requires_grad and name.startswith(ENCODERS)
    ]
    checkpoint[FROZEN] = {'names': frozen, 'digest': digest_of(weights, frozen)}
    for name in frozen:
        del weights[name]
    checkpoint['state_dict'] = weights


def fill_frozen(model: nn.Module, frozen: Any, weights: Mapping[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """The whole state dict of such a checkpoint. The model loads its pretrained files.

    Args:
        model: The network, built with its pretrained files.
        frozen: The checkpoint's entry `FROZEN`.
        weights: Its state dict.
        path: The checkpoint, for messages.

    Raises:
        CheckpointError: If the entry is damaged, or the pretrained files hold other weights than the training had.
    """
    if not isinstance(frozen, dict) or not isinstance(frozen.get('names'), list):
        raise CheckpointError(f'{path}: its entry {FROZEN!r} is damaged; copy it again')
    model.init_weights()  # type: ignore[operator]
    own = model.state_dict()
    missing = [name for name in frozen['names'] if name not in own]
    if missing or digest_of(own, frozen['names']) != frozen.get('digest'):
        raise CheckpointError(
            f'{path}: leaves out {len(frozen["names"])} frozen weights, and those of the encoders here are others: set '
            'model.backbone.pretrained and model.text_encoder.pretrained to the files that the training had'
        )
    return {**{name: own[name] for name in frozen['names']}, **weights}


def digest_of(weights: Mapping[str, Tensor], names: Sequence[str]) -> str:
    """SHA-256 of some tensors, names and bytes, in the order of `names`."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
