"""What the tools share: devices, and errors that a user can mend as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from mmmagnet.datasets.writing import Conversion
from mmmagnet.utils import DataError
from mmmagnet.utils.checkpoint import CheckpointError
from mmmagnet.utils.config import ConfigError

USER_ERRORS = (DataError, CheckpointError, ConfigError, OSError)


def run_command(command: Callable[[], int]) -> int:
    """Run a tool; errors of its input end in one line on stderr and exit status 2, all others in a traceback."""
    try:
        status = command()
        leave_processes()
        return status
    except USER_ERRORS as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 2
    except KeyError as error:
        if 'regist' not in str(error):
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)  # a `type` of the config is not registered
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def one_line(error: BaseException) -> str:
    """The message of an error; of one that a data worker passed on, the last line of the traceback it carries."""
    if isinstance(error, OSError) and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip() or type(error).__name__
    if 'Original Traceback (most recent call last)' in text:
        text = text.splitlines()[-1].split(': ', 1)[-1]
    return ' '.join(text.split())


def select_device(device: str | None) -> None:
    """Let MMEngine run on `device` (``cpu``, ``cuda``) instead of the first accelerator it finds (None).

    To hide CUDA a tool must also empty ``CUDA_VISIBLE_DEVICES`` before torch looks for GPUs, which importing mmmagnet
    does.

    Raises:
        ConfigError: If ``cuda`` is asked for and PyTorch sees no GPU.
    """
    import mmengine.device.utils as devices
    import torch

    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: PyTorch sees no GPU here; leave --device out, or give cpu')
    if device is not None:
        devices.DEVICE = device


def join_processes(config: Config) -> None:
    """Make a distributed run work on CPUs, too.

    MMEngine's launchers choose a GPU for each process and name it to DistributedDataParallel, which fails without one.

    Raises:
        ConfigError: If another launcher than ``pytorch`` runs on CPUs.
    """
    import mmengine.device
    import torch.distributed as distributed

    if config.launcher == 'none' or mmengine.device.get_device() != 'cpu':
        return
    if config.launcher != 'pytorch':
        raise ConfigError(f'--launcher {config.launcher}: on CPUs only pytorch is supported; use torchrun')
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    config.model_wrapper_cfg = {
        'broadcast_buffers': False,
        'find_unused_parameters': config.get('find_unused_parameters', False),
        **(config.get('model_wrapper_cfg') or {}),
        'device_ids': None,
    }


def leave_processes() -> None:
    """End a distributed run together: a process that exits with the group's threads alive may abort."""
    import torch.distributed as distributed

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def print_conversion(conversion: Conversion, out: Path) -> None:
    """Tell what a converter wrote, split by split; its warnings go to stderr."""
    for warning in conversion.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    print(f'{"split":<10}{"refs":>8}{"sentences":>11}{"images":>8}')
    for split, (refs, sentences, images) in conversion.counts.items():
        print(f'{split:<10}{refs:>8}{sentences:>11}{images:>8}')
    print(f'wrote {out}')
