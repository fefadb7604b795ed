"""What a checkpoint must hold for a training to start from it."""

import logging
from types import SimpleNamespace

import pytest
import torch

from mmmagnet.engine.hooks import LoadCheckHook
from mmmagnet.utils.checkpoint import CheckpointError


def check(checkpoint, resume=False):
    model = torch.nn.Linear(2, 3)
    runner = SimpleNamespace(model=model, logger=logging.getLogger('load check'))
    LoadCheckHook('w.pth', resume).after_load_checkpoint(runner, checkpoint)


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize(
    'checkpoint', [[1, 2], {'state_dict': 3}, {'state_dict': {'weight': 'x'}}, {}, torch.zeros(2)], ids=str
)
def test_no_state_dict(checkpoint, resume):
    with pytest.raises(CheckpointError, match=r'w\.pth: holds no state dict'):
        check(checkpoint, resume)


def test_whole_and_part(caplog):
    weights = {'module.weight': torch.zeros(3, 2), 'bias': torch.zeros(3)}
    for content in (weights, {'state_dict': weights}):
        check(content)
        check(content, resume=True)
    assert not caplog.records
    check({'weight': torch.zeros(3, 2)})
    assert '1 of 2 entries are loaded; the others start as they are, the first is bias' in caplog.text
    with pytest.raises(CheckpointError, match='it lacks bias'):
        check({'weight': torch.zeros(3, 2)}, resume=True)
    with pytest.raises(CheckpointError, match='is of another model, no entry fits'):
        check({'weight': torch.zeros(2, 2)})
