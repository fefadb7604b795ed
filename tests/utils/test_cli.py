"""What a user can fix is one line; everything else is a traceback."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from mmmagnet.utils.cli import join_processes, run_command
from mmmagnet.utils.config import load_config
from mmmagnet.utils.errors import CheckpointError, DataError

CONFIGS = Path(__file__).parents[2] / 'configs'


class Broken(torch.utils.data.Dataset):
    """Fails inside a data worker."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise DataError('a.png: is broken; copy it again')


def read_in_a_worker() -> int:
    return len(list(DataLoader(Broken(), num_workers=1)))


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ('command', 'status', 'line'),
    [
        (lambda: 0, 0, ''),
        (raising(CheckpointError('a.pth: is cut;\n  copy it again')), 2, 'error: a.pth: is cut; copy it again'),
        (raising(FileNotFoundError('a.py: no such config file')), 2, 'error: a.py: no such config file'),
        (raising(PermissionError(13, 'Permission denied', 'a.py')), 2, 'error: a.py: Permission denied'),
        (raising(KeyError("X is not in the model registry's list")), 2, "error: X is not in the model registry's list"),
        (read_in_a_worker, 2, 'error: a.png: is broken; copy it again'),
        (raising(KeyboardInterrupt()), 130, 'interrupted'),
    ],
)
def test_one_line(command, status, line, capsys):
    assert run_command(command) == status
    assert capsys.readouterr().err.strip() == line


@pytest.mark.parametrize('error', [RuntimeError('x'), KeyError('x'), ValueError('x')])
def test_other_errors_are_not_hidden(error):
    with pytest.raises(type(error)):
        run_command(raising(error))


def test_batch_norm_is_synchronised_on_gpus_only(monkeypatch):
    """The configs ask for it; PyTorch's runs on GPUs only, so processes on CPUs do without."""
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: True)
    config = load_config(CONFIGS / 'lavt_tiny_synthetic.py')
    assert config.sync_bn == 'torch'
    config.launcher = 'pytorch'
    join_processes(config)
    assert config.sync_bn is None


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='asks the C library to keep memory: glibc')
def test_memory_is_reused():
    program = """
import resource, torch
from mmmagnet.utils.cli import run_command
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def command():
    for _ in range(20):
        before = faults()
        torch.zeros(2**24)  # 64 MB, 16384 pages
    return int(faults() - before > 1000)
raise SystemExit(run_command(command))
"""
    subprocess.run([sys.executable, '-c', program], check=True)
