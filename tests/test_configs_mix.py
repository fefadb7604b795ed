"""Configs of configs/mix: each builds without a network, and, made small, learns to tell two expressions apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from networks import build_small, make_small, read_config, small_batch

from mmmagnet.datasets.synthetic import default_set, generate_set
from mmmagnet.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(f'mix/{path.name}' for path in (ROOT / 'configs/mix').glob('*.py'))
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'
STEPS = 25
WITHOUT_TEXT = 'mix/foreground_resnet50.py'


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('mix') / 'set'
    assert generate_set(default_set('easy', seed=0, counts={'train': 4, 'val': 2, 'testA': 2, 'testB': 2}), root)
    return str(root)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    config = read_config(name)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        DATASETS.build({**config[loader].dataset, 'lazy_init': True})
    if 'text_encoder' in config.model:
        pipelines = [config[loader].dataset.pipeline for loader in ('train_dataloader', 'test_dataloader')]
        used = {step.tokenizer for pipeline in pipelines for step in pipeline if step.type == 'TokenizeExpression'}
        assert used == {config.model.text_encoder.pretrained}, 'words of another vocabulary'
        assert model.text_encoder.mask_token_id is not None
    lines = [line for line in (ROOT / 'configs' / name).read_text().splitlines() if line and line[0] != '#']
    assert len(lines) <= 20


@pytest.mark.parametrize('name', CONFIGS)
def test_network_tells_two_expressions_apart(name):
    """One image, two expressions, two masks: the loss falls, and each mask grows where its own expression points."""
    torch.manual_seed(0)
    model = build_small(name)
    data = small_batch()
    data['inputs'][1] = data['inputs'][0]
    first, second = data['data_samples']
    for sample, columns in ((first, slice(32)), (second, slice(32, 64))):
        sample.gt_sem_seg.data.zero_()[:, 16:48, columns] = 1
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=3e-3))
    history = [model.train().train_step(data, optimizer)['loss'].item() for _ in range(STEPS)]
    assert np.isfinite(history).all()
    assert np.mean(history[-5:]) < 0.9 * np.mean(history[:3])
    with torch.no_grad():
        one, other = (sample.seg_logits.data[0] for sample in model.eval().test_step(data))
    difference = one - other
    if name == WITHOUT_TEXT:
        assert difference.abs().max() < 1e-3 * one.abs().max()
    else:
        width = difference.shape[1] // 2
        assert difference[:, :width].mean() > difference[:, width:].mean() + 0.1


@pytest.mark.parametrize('name', [WITHOUT_TEXT, 'mix/magnet_clip.py'])
def test_config_from_data_to_scores(name, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, '_log_env', lambda runner, env: None)  # it would ask the compilers, each time
    config = read_config(name)
    make_small(config.model)
    for loader in ('train_dataloader', 'test_dataloader'):
        config[loader].update(
            batch_size=2 if loader == 'train_dataloader' else 16, num_workers=0, persistent_workers=False
        )
        config[loader].dataset.data_root = data_root
        for step in config[loader].dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (64, 64)
            elif step.type == 'TokenizeExpression':
                step.tokenizer = TOKENIZER
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=100)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.param_scheduler = []
    config.optim_wrapper.optimizer.lr = 1e-3
    config.default_hooks = dict(logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False), checkpoint=None)
    config.work_dir = str(tmp_path)
    runner = Runner.from_cfg(config)
    runner.train()
    scores = runner.test()
    assert scores['ref/pairs'] > 0
    assert 0 <= scores['ref/oIoU'] <= 100
