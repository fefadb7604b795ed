"""What a user can fix is one line; everything else is a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from mmmagnet.utils.cli import run_command, select_device
from mmmagnet.utils.errors import CheckpointError, ConfigError, DataError


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
        (
            raising(DataError(f'a.p: names {"x" * 3000}; copy it again')),
            2,
            f'error: a.p: names {"x" * 739} ... {"x" * 735}; copy it again',
        ),
        (read_in_a_worker, 2, 'error: a.png: is broken; copy it again'),
        (raising(ImportError('run pip install wandb')), 2, 'error: run pip install wandb'),
        (raising(KeyboardInterrupt()), 130, 'interrupted'),
    ],
)
def test_one_line(command, status, line, capsys):
    assert run_command(command) == status
    assert capsys.readouterr().err.strip() == line


@pytest.mark.parametrize('error', [RuntimeError('x'), KeyError('x'), ValueError('x'), ImportError('x')])
def test_other_errors_are_not_hidden(error):
    with pytest.raises(type(error)):
        run_command(raising(error))


@pytest.mark.parametrize('at_once', [False, True])
def test_sigterm(at_once):
    """It cleans up unless it ends at once."""
    program = f"""
import os, signal
from mmmagnet.utils.cli import end_on_sigterm
end_on_sigterm(at_once={at_once})
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
finally:
    print('cleaned', flush=True)
"""
    run = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, timeout=100)
    assert (run.returncode, run.stderr) == (128 + signal.SIGTERM, 'error: stopped by SIGTERM\n')
    assert run.stdout == ('' if at_once else 'cleaned\n')


def test_device(monkeypatch):
    from mmengine.device import get_device

    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'npu')
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    for device, found in ((None, 'npu'), ('cpu', 'cpu')):
        select_device(device)
        assert get_device() == found
    with pytest.raises(ConfigError, match='--device cuda: PyTorch sees no GPU here'):
        select_device('cuda')
