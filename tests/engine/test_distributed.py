"""Launchers on CPUs and on too few GPUs."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmmagnet.engine import distributed
from mmmagnet.engine.distributed import setup_distributed
from mmmagnet.utils.errors import ConfigError


@pytest.mark.parametrize(
    ('launcher', 'device', 'gpus', 'message'),
    [
        ('none', 'cpu', 0, None),
        ('pytorch', 'cpu', 0, None),
        ('slurm', 'cpu', 0, '--launcher slurm: on CPUs only pytorch is supported'),
        ('slurm', 'cuda', 2, None),
        ('pytorch', 'cuda', 1, 'process 1 of this computer .* PyTorch sees 1'),
    ],
)
def test_launchers(monkeypatch, launcher, device, gpus, message):
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    monkeypatch.setattr('torch.cuda.device_count', lambda: gpus)
    monkeypatch.setattr('torch.distributed.is_initialized', lambda: True)
    monkeypatch.setenv('LOCAL_RANK', '1')
    config = Config(dict(launcher=launcher, sync_bn='torch'))
    if message:
        with pytest.raises(ConfigError, match=message):
            setup_distributed(config)
        return
    setup_distributed(config)
    on_cpus = launcher == 'pytorch'
    assert config.sync_bn == (None if on_cpus else 'torch')  # PyTorch's synchronised BatchNorm needs GPUs
    assert config.get('model_wrapper_cfg', {}).get('device_ids', 'all') == (None if on_cpus else 'all')
