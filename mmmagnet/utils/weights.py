"""Checkpoints of whole models: their config, and their weights, checked name by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from mmmagnet.utils.checkpoint import load_file, read_checkpoint
from mmmagnet.utils.config import config_from_text
from mmmagnet.utils.errors import CheckpointError

# heads of training: inference neither builds them nor asks a checkpoint for them
TRAINING_ONLY = ('auxiliary_head.',)


def checkpoint_config(path: str | Path) -> Config:
    """The config that MMEngine stored in a checkpoint, read without running it.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read or stores no config.
        ConfigError: If the stored text is more than plain values.
    """
    content = load_file(path)
    meta = content.get('meta') if isinstance(content, dict) else None
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise CheckpointError(f'{path}: stores no config (meta.cfg); give the config file with --config')
    return config_from_text(text, source=f'{path} (meta.cfg)')


def inference_model(model: dict[str, Any]) -> dict[str, Any]:
    """A model config without what only training reads: auxiliary heads, compiling, pretrained files, initialisation."""
    kept = {name: value for name, value in model.items() if name not in ('auxiliary_head', 'compile')}
    return _without_initialisation(kept)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint into a model that must have the same entries, heads of training aside.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, or is of another model (naming the first entry that differs).
    """
    weights = read_checkpoint(path)
    check_weights(model, weights, path)
    model.load_state_dict({name: weights[name] for name in model.state_dict() if name in weights}, strict=False)


def check_weights(model: nn.Module, weights: dict[str, Tensor], path: str | Path, whole: bool = False) -> None:
    """Compare names and shapes of weights with a model's.

    Args:
        model: The model that is to take the weights.
        weights: State dict.
        path: Where it is from, for messages.
        whole: Whether the heads of training are compared, too.

    Raises:
        CheckpointError: Naming the first entry that differs.
    """
    own, theirs = _compared(model.state_dict(), whole), _compared(weights, whole)
    fix = 'use the config this checkpoint was trained with'
    for name, value in own.items():
        if name not in theirs:
            missing = sum(name not in theirs for name in own)
            raise CheckpointError(
                f'{path}: is of another model: it lacks {name} ({missing} of {len(own)} entries missing); {fix}'
            )
        if theirs[name].shape != value.shape:
            raise CheckpointError(
                f'{path}: is of another model: {name} has shape {tuple(theirs[name].shape)}, '
                f'the config makes {tuple(value.shape)}; {fix}'
            )
    extra = [name for name in theirs if name not in own]
    if extra:
        raise CheckpointError(
            f'{path}: is of another model: the config makes no {extra[0]} ({len(extra)} entries too many); {fix}'
        )


def _compared(weights: dict[str, Tensor], whole: bool) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if whole or not name.startswith(TRAINING_ONLY)}


def _without_initialisation(value: Any) -> Any:
    if isinstance(value, dict):
        dropped = ('pretrained', 'init_cfg')
        return {name: _without_initialisation(part) for name, part in value.items() if name not in dropped}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_initialisation(part) for part in value)
    return value
