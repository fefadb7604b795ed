"""Reading checkpoints without running what is in them."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from .errors import CheckpointError


def load_file(path: str | Path, allowed: Sequence[type] = ()) -> Any:
    """Load a checkpoint file: tensors and plain values, and MMEngine's log buffers; nothing that can run code.

    Args:
        path: A file of `torch.save`, or ``.safetensors``.
        allowed: Further classes that the file may hold: plain data only.

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
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r'GLOBAL (\S+)|getattr\(.*?\)', str(error))
        if asked and asked[1] == 'argparse.Namespace':
            fix = 'a file of the authors of MagNet or LAVT goes through tools/model_converters/official.py first'
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


def refuse_code() -> None:
    """Let MMEngine read local files (`load_from`, resuming) by `load_file`, in this process from now on."""
    CheckpointLoader.register_scheme(prefixes='', loader=_load_local, force=True)


def _load_local(filename: str, map_location: Any = None) -> Any:
    """In the place of MMEngine's `load_from_local`; the runner moves tensors to their device itself."""
    return load_file(Path(filename).expanduser())
