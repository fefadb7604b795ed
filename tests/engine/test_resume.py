"""The checkpoint that a training resumes from, and changes that a resume would ignore."""

from __future__ import annotations

import pytest
import torch
from mmengine.config import Config

from mmmagnet.engine.resume import set_resume
from mmmagnet.utils.errors import CheckpointError, ConfigError

SETTINGS = dict(
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1, fused=True), paramwise_cfg=dict(norm_decay_mult=0.0)),
    param_scheduler=[dict(type='PolyLR', end=9)],
    load_from='pretrained.pth',
)


def checkpoint(path, **settings):
    meta = {'epoch': 1, 'iter': 9, 'cfg': Config({**SETTINGS, **settings}).pretty_text}
    path.parent.mkdir(exist_ok=True)
    torch.save({'meta': meta, 'state_dict': {}, 'optimizer': {}}, path)
    return path


def test_which_checkpoint(tmp_path):
    config = Config(dict(SETTINGS, work_dir=str(tmp_path / 'run')))
    set_resume(config, None)
    assert (config.resume, config.load_from) == (False, 'pretrained.pth')
    latest, other = checkpoint(tmp_path / 'run' / 'epoch_3.pth'), checkpoint(tmp_path / 'epoch_2.pth')
    for asked, found in ((None, latest), (other, other)):
        set_resume(config, asked)
        assert (config.resume, config.load_from) == (True, str(found))
    with pytest.raises(FileNotFoundError, match=r'epoch_9\.pth: no such checkpoint file'):
        set_resume(config, tmp_path / 'epoch_9.pth')


@pytest.mark.parametrize(
    ('option', 'value', 'wrong'),
    [
        ('param_scheduler', [dict(type='PolyLR', end=10)], 'param_scheduler'),
        ('optim_wrapper.optimizer.lr', 0.2, 'optim_wrapper.optimizer'),
        ('optim_wrapper.paramwise_cfg.norm_decay_mult', 1.0, 'optim_wrapper.paramwise_cfg'),
        ('optim_wrapper.optimizer.fused', False, None),
        ('model', dict(type='ReferringSegmentor'), None),
    ],
)
def test_changes_that_a_resume_ignores(tmp_path, option, value, wrong):
    config = Config(SETTINGS)
    config.merge_from_dict({option: value})
    path = checkpoint(tmp_path / 'epoch_1.pth')
    if wrong is None:
        set_resume(config, path)
        return
    with pytest.raises(ConfigError, match=rf'epoch_1\.pth: was trained with another {wrong}, .* load_from='):
        set_resume(config, path)


@pytest.mark.parametrize(
    'content',
    [{'state_dict': {}}, {'state_dict': {}, 'meta': {'epoch': 1, 'iter': 9}}, {'optimizer': {}, 'meta': {}}, [1]],
)
def test_weights_alone_are_not_resumed(tmp_path, content):
    torch.save(content, tmp_path / 'best.pth')
    with pytest.raises(CheckpointError, match=r'best\.pth: has weights but no state .*load_from=.*best\.pth'):
        set_resume(Config(SETTINGS), tmp_path / 'best.pth')
