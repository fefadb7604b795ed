"""The device that a model runs on."""

from __future__ import annotations

import torch
from mmengine.device import get_device

from .errors import ConfigError


def usable_device(device: str | torch.device | None) -> torch.device:
    """The device of a name, once a tensor was made on it; by default an accelerator if there is one.

    Raises:
        ConfigError: If PyTorch does not know it, or cannot use it here.
    """
    try:
        found = torch.device(device or get_device())
    except RuntimeError as error:
        raise ConfigError(f'device {device!r}: PyTorch knows no such device; give cpu or cuda') from error
    if found.type == 'cuda' and not torch.cuda.is_available():
        raise ConfigError(f'device {str(device)!r}: PyTorch sees no GPU here; give cpu')
    try:
        torch.zeros(1, device=found).item()
    except Exception as error:  # whatever a backend that is not there raises
        raise ConfigError(f'device {str(device)!r}: cannot be used here; give cpu or cuda') from error
    return found
