"""What a checkpoint must hold for a training to start or resume from it."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmmagnet.engine.hooks import StrictLoadHook
from mmmagnet.utils.errors import CheckpointError


def check(checkpoint, resume=False):
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW([dict(params=[weight]) for weight in model.parameters()])
    wrapper = OptimWrapper(optimizer)
    assert len(wrapper.param_groups) == 3  # it shows a group more than the optimizer has
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, logger=logging.getLogger('load check'))
    StrictLoadHook('w.pth', resume).after_load_checkpoint(runner, checkpoint)


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
    with pytest.raises(CheckpointError, match='is of another model: no entry fits; load_from takes'):
        check({'weight': torch.zeros(2, 2)})


@pytest.mark.parametrize('groups', [[[0, 1]], [[0], [1], [2]], [[0], [1, 2]]])
def test_another_grouping_of_weights(groups):
    content = {'state_dict': torch.nn.Linear(2, 3).state_dict()}
    check({**content, 'optimizer': {'param_groups': [dict(params=[0]), dict(params=[1])]}}, resume=True)
    check({**content, 'optimizer': {'first': {}, 'second': {}}}, resume=True)  # of two optimizers
    content['optimizer'] = {'param_groups': [dict(params=group) for group in groups]}
    check(content)
    with pytest.raises(CheckpointError, match=rf'w\.pth: .* {len(groups)} groups of weights and that of this config 2'):
        check(content, resume=True)
