"""What the tools share: devices, and errors that a user can fix as one line."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmmagnet.datasets.converters.output import Conversion
from mmmagnet.utils.errors import CheckpointError, ConfigError, DataError, TrainingError

USER_ERRORS = (DataError, TrainingError, CheckpointError, ConfigError, OSError)
STOPPED = 'stopped by SIGTERM'
told_to_stop = threading.Event()
PR_SET_PDEATHSIG = 1  # of Linux's prctl
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
SECONDS_TO_END = 10.0
"""For a tool to end by itself after SIGTERM: what was told to stop must stop."""


class Terminated(BaseException):
    """SIGTERM: from a user, a scheduler that wants the machine back, or a launcher whose other process failed."""


def end_on_sigterm() -> None:
    """Let SIGTERM, and the end of torchrun, end this process with what it has begun put away, by `Terminated`."""
    owner = os.getpid()
    if 'TORCHELASTIC_RUN_ID' in os.environ and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # its processes would train on without it

    def end(*_: Any) -> None:
        if os.getpid() != owner:  # a child that was forked
            os._exit(128 + signal.SIGTERM)
        told_to_stop.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        timer = threading.Timer(SECONDS_TO_END, os._exit, (128 + signal.SIGTERM,))
        timer.daemon = True
        timer.start()
        raise Terminated

    signal.signal(signal.SIGTERM, end)


def reuse_memory() -> None:
    """Let glibc keep what tensors free for the next ones.

    By default it hands every block over 32 MB back, and each new one is then made of pages that the kernel clears
    first: at 480 x 480 that is a tenth of a prediction's time, and a third of that of a batch of 8 (docs/hardware.md).
    """
    if platform.libc_ver()[0] == 'glibc':
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)


def run_command(command: Callable[[], int]) -> int:
    """Run a tool; errors of its input end in one line on stderr and exit status 2, all others in a traceback."""
    reuse_memory()
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
    except (Terminated, Exception) as error:
        cause = loss_of(error)
        if cause is None:
            raise
        for each in (signal.SIGTERM, signal.SIGCHLD):  # nothing more is to be said, not of data workers that end either
            signal.signal(each, signal.SIG_DFL)
        print(f'error: {cause}', file=sys.stderr)
        return 128 + signal.SIGTERM if cause == STOPPED else 1


def loss_of(error: BaseException) -> str | None:
    """In a line, which process was ended: this one, a data worker or another of a distributed run; None if none was."""
    import torch.distributed as distributed

    text = one_line(error)
    # SIGTERM reaches data workers, too; and `Terminated` may be caught and become another error
    if told_to_stop.is_set() or 'is killed by signal: Terminated' in text:
        return STOPPED
    if 'DataLoader worker' in text:
        return f'{text} (is memory, or /dev/shm, used up?)'
    if 'EADDRINUSE' in text:
        return f'port {os.environ.get("MASTER_PORT")} of this computer is in use; set PORT to another'
    if 'gloo/transport' in text or (
        distributed.is_available() and isinstance(error, (distributed.DistBackendError, distributed.DistNetworkError))
    ):
        return f'another process of this run has ended, and its own message says why: {text}'
    return None


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
        ConfigError: If another launcher than ``pytorch`` runs on CPUs, or there are fewer GPUs than processes.
    """
    import mmengine.device
    import torch
    import torch.distributed as distributed

    if config.launcher == 'none':
        return
    if mmengine.device.get_device() != 'cpu':
        seen, rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
        if mmengine.device.get_device() == 'cuda' and rank >= seen:
            raise ConfigError(f'process {rank} of this computer (from 0) has no GPU: PyTorch sees {seen}; start fewer')
        return
    if config.launcher != 'pytorch':
        raise ConfigError(f'--launcher {config.launcher}: on CPUs only pytorch is supported; use torchrun')
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    config.sync_bn = None  # PyTorch's needs GPUs
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
