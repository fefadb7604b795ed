"""Launchers on CPUs and on too few GPUs."""

from __future__ import annotations

import faulthandler
from contextlib import nullcontext

import pytest
import torch
import torch.multiprocessing
from mmengine.config import Config

from mmmagnet.engine import distributed
from mmmagnet.engine.distributed import closing_distributed, setup_distributed
from mmmagnet.utils.errors import ConfigError


@pytest.mark.parametrize(
    ('launcher', 'device', 'gpus', 'message'),
    [
        ('none', 'cpu', 0, None),
        ('pytorch', 'cpu', 0, None),
        ('slurm', 'cpu', 0, '--launcher slurm: on CPUs only pytorch is supported'),
        ('slurm', 'cuda', 2, None),
        ('pytorch', 'cuda', 1, 'process 1 of this computer .* PyTorch sees 1'),
        ('mpi', 'cuda', 2, None),
    ],
)
def test_launchers(monkeypatch, launcher, device, gpus, message):
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    monkeypatch.setattr('torch.cuda.device_count', lambda: gpus)
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: True)
    for name in ('LOCAL_RANK', 'RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.setenv(name, '1')
    config = Config(dict(launcher=launcher, sync_bn='torch'))
    if message:
        with pytest.raises(ConfigError, match=message):
            setup_distributed(config)
        return
    setup_distributed(config)
    on_cpus = launcher == 'pytorch'
    assert config.sync_bn == (None if on_cpus else 'torch')  # PyTorch's synchronised BatchNorm needs GPUs
    assert config.get('model_wrapper_cfg', {}).get('device_ids', 'all') == (None if on_cpus else 'all')


@pytest.mark.parametrize(
    ('launcher', 'message'),
    [
        ('pytorch', r'--launcher pytorch: RANK is not set, as tools/dist_train.sh \(torchrun\) would'),
        ('slurm', r'--launcher slurm: SLURM_PROCID is not set, as tools/slurm_train.sh \(srun\) would'),
        ('mpi', '--launcher mpi: OMPI_COMM_WORLD_RANK is not set, as mpirun would'),
    ],
)
def test_a_launcher_that_did_not_start_the_process(monkeypatch, launcher, message):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=f'{message}; for a single process leave --launcher out'):
        setup_distributed(Config(dict(launcher=launcher)))


def train_and_close(rank, folder):
    """Groups that are freed right after their last messages. Without a pause, some of them hang, not in every run."""
    faulthandler.dump_traceback_later(120, exit=True)
    torch.set_num_threads(1)

    def train(group):
        torch.distributed.init_process_group('gloo', f'file://{folder}/{group}', rank=rank, world_size=2)
        with closing_distributed():
            model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(64, 64))
            model(torch.randn(4, 64)).sum().backward()

    for group in range(20):
        train(group)


@pytest.mark.parametrize(
    ('initialized', 'error', 'expected'),
    [
        (True, None, ['barrier', 'sleep', 'destroy_process_group']),
        (True, KeyboardInterrupt, ['sleep']),  # the others may never come to a barrier
        (False, None, []),
        (False, KeyboardInterrupt, []),
    ],
)
def test_end_of_a_run(monkeypatch, initialized, error, expected):
    done = []
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: initialized)
    for name in ('torch.distributed.barrier', 'time.sleep', 'torch.distributed.destroy_process_group'):
        monkeypatch.setattr(name, lambda *_, name=name: done.append(name.rsplit('.', 1)[1]))
    with pytest.raises(error) if error else nullcontext(), closing_distributed():
        if error:
            raise error
    assert done == expected


@pytest.mark.slow
def test_groups_are_freed(tmp_path):
    torch.multiprocessing.spawn(train_and_close, (tmp_path,), nprocs=2)
