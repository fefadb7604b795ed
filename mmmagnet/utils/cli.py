"""What the tools share: the choice of a device, and errors that a user can fix as one line."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .errors import CheckpointError, ConfigError, DataError, TrainingError

USER_ERRORS = (DataError, TrainingError, CheckpointError, ConfigError, OSError)
MAX_MESSAGE = 1500  # characters; what a damaged file holds may be in a message


def run_command(command: Callable[[], int]) -> int:
    """Exit status of a tool; an error of its input ends in one line on stderr and status 2, others in a traceback.

    Example:
        >>> run_command(lambda: 0)
        0
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # a console that is not UTF-8 shows any expression
    try:
        return command()
    except USER_ERRORS as error:
        print(f'error: {one_line(error)}', file=sys.stderr)
        return 2
    except ImportError as error:
        if 'pip install' not in str(error):
            raise
        print(f'error: {one_line(error)}', file=sys.stderr)  # of an optional package, as MMEngine's TensorBoard backend
        return 2
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks; of an error in a data worker, the end of the traceback it carries.

    The middle of a long one is left out, so that file and fix can be read.
    """
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:
        text = f'{error.filename}: {error.strerror}'
    elif 'Original Traceback (most recent call last)' in text:  # PyTorch's
        text = text.splitlines()[-1].split(': ', 1)[-1]
    text = ' '.join(text.split())
    half = MAX_MESSAGE // 2
    return text if len(text) <= MAX_MESSAGE else f'{text[:half]} ... {text[-half:]}'


def end_on_sigterm(at_once: bool = False) -> None:
    """Let SIGTERM end this process with one line on stderr and exit status 143.

    Args:
        at_once: End without cleaning up. A training can, since its files are whole at any moment and its data workers
            end with it.
    """

    def end(*_: Any) -> None:
        os.write(2, b'error: stopped by SIGTERM\n')
        if at_once:
            os._exit(128 + signal.SIGTERM)
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def select_device(device: str | None) -> None:
    """Let MMEngine use a device (``cpu``, ``cuda``) instead of the first accelerator that it finds (None).

    To hide GPUs a tool must also empty ``CUDA_VISIBLE_DEVICES`` before it imports mmmagnet, which looks for them.

    Raises:
        ConfigError: If ``cuda`` is asked for and PyTorch sees no GPU.
    """
    import mmengine.device.utils as devices
    import torch

    if device == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: PyTorch sees no GPU here; leave --device out, or give cpu')
    if device is not None:
        devices.DEVICE = device
