"""Checkpoints: read without running what is in them, compared with a model name by name, and loaded."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from .errors import CheckpointError
from .trainable_checkpoint import FROZEN, fill_frozen

TRAINING_ONLY = ('auxiliary_head.',)
"""Beginnings of the entries that inference neither builds nor asks a checkpoint for."""

SAME_CONFIG = 'use the config this checkpoint was trained with'


def load_file(path: str | Path, allowed: Sequence[type] = (), mmap: bool = False) -> Any:
    """Load a checkpoint file: tensors and plain values, and MMEngine's log buffers; nothing that can run code.

    Args:
        path: A file of `torch.save`, or ``.safetensors``.
        allowed: Further classes that the file may hold: plain data only.
        mmap: Whether the tensors stay in the file until they are read. The file must not change meanwhile.

    Returns:
        What the file holds, on the CPU.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file is truncated, of another kind, or holds objects that are not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint file')
    with path.open('rb') as stream:
        start = stream.read(40)
    if path.suffix != '.safetensors' and not start.startswith((b'PK', b'\x80')):  # a zip archive, or a pickle
        raise CheckpointError(f'{path}: no checkpoint, it begins with {start!r}; copy or download it again')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file as load_safetensors

            return load_safetensors(path)
        with torch.serialization.safe_globals([*_allowed(), *allowed]), warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Detected pickle protocol')
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        asked = re.search(r'GLOBAL (\S+)|getattr\(.*?\)', str(error))
        if asked and asked[1] == 'argparse.Namespace':
            fix = 'convert a released checkpoint with tools/model_converters/official.py first'
        else:
            fix = 'save its state dict alone with torch.save'
        raise CheckpointError(
            f'{path}: refused, it holds more than weights and could run code '
            f'({asked[0] if asked else "a pickled object"}); {fix}'
        ) from error
    except Exception as error:  # zip, pickle and safetensors readers each raise their own kinds on a damaged file
        cause = str(error) or type(error).__name__
        raise CheckpointError(f'{path}: not a whole checkpoint file ({cause}); copy or download it again') from error


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint file, out of ``state_dict`` or ``model`` where it is wrapped, without ``module.``.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read or holds no tensors by name.
    """
    return state_dict_of(load_file(path), path)


def state_dict_of(content: Any, path: str | Path) -> dict[str, Tensor]:
    """The state dict in the content of a checkpoint file, as by `read_checkpoint`.

    Raises:
        CheckpointError: If it holds no tensors by name.
    """
    for wrapper in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    ):
        raise CheckpointError(f'{path}: holds no state dict (name -> tensor), at the top or under state_dict or model')
    return {name.removeprefix('module.'): value for name, value in content.items()}


def checkpoint_config(path: str | Path) -> Config:
    """The config that MMEngine stored in a checkpoint, read without running it.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read or stores no config.
        ConfigError: If the stored text is more than plain values.
    """
    from .config import config_from_text  # which reads checkpoints itself

    content = load_file(path)
    meta = content.get('meta') if isinstance(content, dict) else None
    text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise CheckpointError(f'{path}: stores no config (meta.cfg); give the config file with --config')
    return config_from_text(text, source=f'{path} (meta.cfg)')


def inference_model(model: dict[str, Any], checkpoint: str | Path | None = None) -> dict[str, Any]:
    """A model config without what only training reads: auxiliary heads, self-distillation, compiling, initialisation.

    Args:
        model: The model's config.
        checkpoint: What will be loaded. Pretrained files stay in the config if it leaves frozen weights out.
    """
    training_only = ('auxiliary_head', 'compile', 'self_distillation')
    kept = {name: value for name, value in model.items() if name not in training_only}
    content = {} if checkpoint is None else load_file(checkpoint, mmap=True)
    return kept if isinstance(content, dict) and FROZEN in content else _without_initialisation(kept)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint into a model that must have the same entries, auxiliary heads aside.

    Frozen weights that it leaves out (`trainable_checkpoint`) come from the model's pretrained files.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, or is of another model (naming the first entry that differs).
    """
    content = load_file(path)
    weights = state_dict_of(content, path)
    if FROZEN in content:
        weights = fill_frozen(model, content[FROZEN], weights, path)
    load_checked(model, weights, path, skip=TRAINING_ONLY)


def build_mapped(config: dict[str, Any], path: str | Path) -> nn.Module:
    """Build a model whose weights stay in a file until they are used, so that memory never holds them twice.

    Args:
        config: Of a model without auxiliary heads.
        path: Checkpoint that nobody changes in place while the model is in use. The model takes its types.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, or is of another model (naming the first entry that differs).
    """
    with _parameters_without_memory():
        model: nn.Module = MODELS.build(config)
    weights = state_dict_of(load_file(path, mmap=True), path)
    load_checked(model, weights, path, skip=TRAINING_ONLY, assign=True)
    return model


def load_checked(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    source: str | Path,
    fix: str = SAME_CONFIG,
    skip: tuple[str, ...] = (),
    partial: bool = False,
    assign: bool = False,
) -> list[str]:
    """Load weights into a module once their names and shapes are known to fit; nothing is loaded if they do not.

    Args:
        module: The module.
        weights: State dict.
        source: The file or setting that the weights are from, for messages.
        fix: What the user can do, for messages.
        skip: Beginnings of entries that neither side must have.
        partial: Whether entries may be missing on either side. Shapes must fit, and one entry at least.
        assign: Whether the module takes the tensors themselves instead of copies, and so their types.

    Returns:
        Names of the module's entries that keep their values.

    Raises:
        CheckpointError: Naming the first entry that differs.

    Example:
        >>> encoder = nn.Linear(2, 3)
        >>> load_checked(encoder, {'weight': torch.zeros(3, 2)}, 'encoder.pth', partial=True)
        ['bias']
    """
    own = module.state_dict()
    missing = check_entries(own, weights, source, fix, skip, partial)
    module.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False, assign=assign)
    return missing


def check_entries(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    source: str | Path,
    fix: str = SAME_CONFIG,
    skip: tuple[str, ...] = (),
    partial: bool = False,
    aliases: Mapping[str, str] | None = None,
) -> list[str]:
    """The comparison in `load_checked`, for a caller that loads the weights itself.

    Args:
        own: State dict of the model, for its names and shapes.
        weights, source, fix, skip, partial: As for `load_checked`.
        aliases: Our name -> name in the file, where the weights were renamed, for messages.

    Returns:
        Names of `own` that `weights` lacks.

    Raises:
        CheckpointError: Naming the first entry that differs.
    """

    def shown(name: str) -> str:
        return f'{aliases[name]} (here {name})' if aliases and name in aliases else name

    compared = [name for name in own if not name.startswith(skip)]
    missing = [name for name in compared if name not in weights]
    problem = None
    for name in compared:
        if name in weights and weights[name].shape != own[name].shape:
            shapes = tuple(weights[name].shape), tuple(own[name].shape)
            problem = f'{shown(name)} has shape {shapes[0]}, the config makes {shapes[1]}'
        elif name not in weights and not partial:
            problem = f'it lacks {shown(name)} ({len(missing)} of {len(compared)} entries missing)'
        if problem:
            break
    extra = [name for name in weights if name not in own and not name.startswith(skip)]
    if not problem and partial and len(missing) == len(compared):
        problem = 'no entry fits'
    elif not problem and extra and not partial:
        problem = f'the config makes no {shown(extra[0])} ({len(extra)} entries too many)'
    if problem:
        raise CheckpointError(f'{source}: is of another model: {problem}; {fix}')
    return missing


def register_safe_loader() -> None:
    """Let MMEngine read local files (`load_from`, resuming) by `load_file`, in this process from now on."""
    CheckpointLoader.register_scheme(prefixes='', loader=_load_local, force=True)


def _load_local(filename: str, map_location: Any = None) -> Any:
    """In the place of MMEngine's `load_from_local`; the runner moves tensors to their device itself."""
    return load_file(Path(filename).expanduser())


def _allowed() -> list[Any]:
    """What MMEngine's own checkpoints hold beside tensors: log buffers and the numpy arrays in them."""
    import numpy as np

    scalar, reconstruct = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    dtypes = {type(np.dtype(kind)) for kind in ('f8', 'f4', 'i8', 'i4', 'b1', 'u4')}
    return [HistoryBuffer, np.ndarray, np.dtype, scalar, reconstruct, *dtypes, (_history_method, 'builtins.getattr')]


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, by which pickled log buffers name their own four statistics."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'getattr({owner!r}, {name!r}) is not allowed')
    return getattr(owner, name)


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Modules that are built have their parameters on the `meta` device; buffers are as ever."""
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, None if param is None else nn.Parameter(param.to('meta'), param.requires_grad))

    with patch.object(nn.Module, 'register_parameter', register_on_meta):
        yield


def _without_initialisation(value: Any) -> Any:
    if isinstance(value, dict):
        dropped = ('pretrained', 'init_cfg')
        return {name: _without_initialisation(part) for name, part in value.items() if name not in dropped}
    if isinstance(value, (list, tuple)):
        return type(value)(_without_initialisation(part) for part in value)
    return value
