"""Configs of configs/mix: each builds without a network, and, made small, trains ten iterations and predicts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import mmmagnet  # noqa: F401
from mmmagnet.datasets.synthetic import default_set, generate_set
from mmmagnet.registry import DATASETS, MODELS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.name for path in (ROOT / 'configs/mix').glob('*.py'))
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'  # its vocabulary has 160 words, [MASK] is 4

# what makes a part small, by its type
SMALL = {
    'StagedSwin': dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4, pretrained=None),
    'SwinTransformer': dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4, init_cfg=None),
    'MixVisionTransformer': dict(embed_dims=8, num_layers=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), init_cfg=None),
    'ResNetV1c': dict(depth=18, base_channels=8, stem_channels=8, init_cfg=None),
    'mmpretrain.ConvNeXt': dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]), init_cfg=None),
    'StagedBert': dict(mask_token_id=4, pretrained=None),
    'StagedClipText': dict(pretrained=None),
    'MagNetHead': dict(
        feat_channels=16,
        num_heads=2,
        num_groups=4,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=16,
        decoder_layers=1,
        decoder_ffn=16,
    ),
    'UPerHead': dict(channels=8),
    'SegformerHead': dict(channels=8),
    'FCNHead': dict(channels=8),
    'MaskGroundingHead': dict(mask_prob=0.5, num_heads=2, num_layers=1),
}
WORDS = dict(
    vocab_size=160, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16
)  # of any text encoder


def read(name):
    config = Config.fromfile(ROOT / 'configs/mix' / name)
    if config.model.backbone.type.startswith('mmpretrain.'):
        pytest.importorskip('mmpretrain.models')
    init_default_scope('mmseg')
    return config


def make_small(model):
    """Shrink the parts of a model's config; their kinds and how they hang together stay."""
    heads = model.get('auxiliary_head') or []
    for part in (model.backbone, model.get('text_encoder'), model.get('neck'), model.decode_head, *heads):
        if part is not None:
            part.update(SMALL.get(part.type, {}))
    if 'text_encoder' in model:
        model.text_encoder.config.update(WORDS)
        last = model.text_encoder.get('stage_ends', (3, 6, 9, 12))
        model.text_encoder.stage_ends = tuple(end // 3 for end in last)
    elif 'in_channels' in model.decode_head:
        model.decode_head.in_channels = (8, 16, 32, 64)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('mix') / 'set'
    assert generate_set(default_set('easy', seed=0, counts={'train': 4, 'val': 2, 'testA': 2, 'testB': 2}), root)
    return str(root)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    config = read(name)
    with torch.device('meta'):
        model = MODELS.build(config.model)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        DATASETS.build({**config[loader].dataset, 'lazy_init': True})
    if 'text_encoder' in config.model:
        pipelines = [config[loader].dataset.pipeline for loader in ('train_dataloader', 'test_dataloader')]
        used = {step.tokenizer for pipeline in pipelines for step in pipeline if step.type == 'TokenizeExpression'}
        assert used == {config.model.text_encoder.pretrained}, 'words of another vocabulary'
        assert model.text_encoder.mask_token_id is not None
    lines = [line for line in (ROOT / 'configs/mix' / name).read_text().splitlines() if line and line[0] != '#']
    assert len(lines) <= 20


@pytest.mark.parametrize('name', CONFIGS)
def test_config_trains_and_predicts(name, data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, '_log_env', lambda runner, env: None)  # it would ask the compilers, each time
    config = read(name)
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
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=10, val_interval=100)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.param_scheduler = []
    config.optim_wrapper.optimizer.lr = 1e-3
    config.default_hooks = dict(logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False), checkpoint=None)
    config.work_dir = str(tmp_path)
    runner = Runner.from_cfg(config)
    runner.train()
    losses, _ = runner.message_hub.get_scalar('train/loss').data
    assert len(losses) == 10
    assert np.isfinite(losses).all()
    assert min(losses[5:]) < losses[0]
    scores = runner.test()
    assert scores['ref/pairs'] > 0
    assert 0 <= scores['ref/oIoU'] <= 100
