"""Runs of several processes, on CPUs too."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as distributed
from mmengine.config import Config
from mmengine.device import get_device

from mmmagnet.utils.errors import ConfigError

LAUNCHERS = {
    'pytorch': ('RANK', 'tools/dist_train.sh (torchrun)'),
    'slurm': ('SLURM_PROCID', 'tools/slurm_train.sh (srun)'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'mpirun'),
}
"""Launcher -> a variable that it sets in every process, and what starts it."""


def setup_distributed(config: Config) -> None:
    """Let the launcher of a config work on CPUs, and make sure that each process has a GPU elsewhere.

    MMEngine's launchers choose a GPU for each process and name it to DistributedDataParallel, which fails on CPUs.

    Raises:
        ConfigError: If the launcher did not start this process, another one than ``pytorch`` runs on CPUs, or there
            are fewer GPUs than processes.

    Example:
        >>> setup_distributed(Config(dict(launcher='none')))
    """
    if config.launcher == 'none':
        return
    variable, starter = LAUNCHERS[config.launcher]
    if variable not in os.environ:
        raise ConfigError(
            f'--launcher {config.launcher}: {variable} is not set, as {starter} would; for a single process leave '
            '--launcher out'
        )
    if get_device() != 'cpu':
        seen, rank = torch.cuda.device_count(), int(os.environ.get('LOCAL_RANK', 0))
        if get_device() == 'cuda' and rank >= seen:
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


@contextmanager
def closing_distributed() -> Iterator[None]:
    """Run that ends without a hang where it is distributed: all processes together, or one alone after an error.

    Gloo's threads need Python's lock to free the last messages. Whatever frees the group, or a model in
    DistributedDataParallel, holds the lock and waits for the threads. So the threads get half a second first. The
    model must be alive until then.

    Example:
        >>> with closing_distributed():
        ...     runner.train()
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    try:
        yield
        distributed.barrier()
    finally:
        time.sleep(0.5)
    distributed.destroy_process_group()
