"""Configs of CRIS and DETRIS: published sizes, groups of weights, schedules, pipelines."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

import mmmagnet  # noqa: F401
from mmmagnet.registry import DATASETS, MODELS, TRANSFORMS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix() for kind in ('cris', 'detris') for path in (ROOT / 'configs' / kind).glob('*.py')
)


def build(config):
    init_default_scope('mmseg')
    with torch.device('meta'):
        return MODELS.build(config.model)


def millions(module, trained=False):
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad or not trained) / 1e6


@pytest.mark.parametrize('name', CONFIGS)
def test_config(name, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    config = Config.fromfile(ROOT / name)
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith('#')]
    assert len(lines) <= 20
    model = build(config)
    assert [type(head).__name__ for head in model.auxiliary_head] == (
        ['MaskGroundingHead', 'AlignmentHead'] if 'grounding' in name else []
    )
    size, length = (416 if '/cris/' in name else 448), (22 if 'umd' in name else 17)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = DATASETS.build({**config[loader].dataset, 'lazy_init': True})
        for part in getattr(dataset, 'datasets', [dataset]):
            assert part.text_field == 'sent'
            steps = {type(step).__name__: step for step in part.pipeline.transforms}
            order = list(steps)
            assert steps['Letterbox'].size == size
            words = steps['TokenizeExpression']
            assert (words.max_length, words.keep_end, words.pad_token_id) == (length, True, 0)
            # in training the mask is warped with the image, in testing it keeps its size
            assert (order.index('LoadReferringMask') < order.index('Letterbox')) == (loader == 'train_dataloader')
    assert config.val_evaluator.resolution == config.test_evaluator.resolution == 'original'
    assert config.default_hooks.checkpoint.save_best == 'ref/mIoU'
    assert config.train_dataloader.drop_last
    for key in config.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {}):
        assert any(key in parameter for parameter, _ in model.named_parameters()), key
    assert {TRANSFORMS.get('Letterbox').__module__} == {'mmmagnet.datasets.transforms.letterbox'}


@pytest.mark.parametrize(
    ('name', 'total', 'parts'),
    [
        ('cris_r50_refcoco', '146.8', ('104.1', '24.1', '12.6', '6.0')),
        ('cris_r101_refcoco', '161.3', None),
    ],
)
def test_published_size_of_cris(name, total, parts):
    """The release counts CLIP's logit scale too; ours has a [MASK]: neither shows in these digits."""
    model = build(Config.fromfile(ROOT / 'configs/cris' / f'{name}.py'))
    assert f'{millions(model):.1f}' == total
    assert f'{millions(model, trained=True):.1f}' == total
    head = model.decode_head
    ours = (
        millions(model.backbone) + millions(model.text_encoder),
        millions(model.neck),
        millions(head.decoder),
        millions(head.project) + millions(head.kernel),
    )
    assert parts is None or tuple(f'{count:.1f}' for count in ours) == parts


@pytest.mark.parametrize(
    ('name', 'total', 'trained'),
    [
        ('detris_vitb_refcoco', '175.5', '25.5'),
        ('detris_vitl_refcoco', '394.1', '26.3'),
        ('detris_vitl_mixed', '424.3', '56.5'),
    ],
)
def test_published_size_of_detris(name, total, trained):
    """Ours lacks the queries and keys of three attentions over a single token, which have no effect."""
    model = build(Config.fromfile(ROOT / 'configs/detris' / f'{name}.py'))
    without_effect = 3 * 2 * (512 * 512 + 512) / 1e6
    assert f'{millions(model) + without_effect:.1f}' == total
    assert f'{millions(model, trained=True) + without_effect:.1f}' == trained
    if name == 'detris_vitb_refcoco':
        adapters = [block.adapter for block in model.backbone.blocks if block.adapter is not None]
        assert f'{millions(model.text_encoder.adapters):.2f}' == '0.42'
        assert f'{sum(map(millions, adapters)):.2f}' == '2.30'
        assert f'{millions(model.neck) + without_effect:.1f}' == '10.1'
        assert f'{millions(model.decode_head.decoder):.1f}' == '7.9'


def test_groups_of_cris():
    config = Config.fromfile(ROOT / 'configs/cris/cris_r50_refcoco.py')
    model = build(config)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    assert type(wrapper.optimizer) is torch.optim.Adam
    assert all(group['weight_decay'] == 0 for group in wrapper.optimizer.param_groups)
    rate = {weight: group['lr'] for group in wrapper.optimizer.param_groups for weight in group['params']}
    for name, weight in model.named_parameters():
        table = name in (
            'backbone.attention_map.positional_embedding',
            'text_encoder.embeddings.position_embedding.weight',
            'text_encoder.mask_embedding',
        )
        slow = name.startswith(('backbone.', 'text_encoder.')) and not table
        assert rate[weight] == pytest.approx(1e-5 if slow else 1e-4), name


@pytest.mark.parametrize(
    ('name', 'milestones', 'epochs', 'batch'),
    [
        ('cris/cris_r50_refcoco', [35], 50, 64),
        ('detris/detris_vitb_refcoco', [35, 55], 65, 32),
        ('detris/detris_vitb_refcocog_google', [35], 50, 32),
        ('detris/detris_vitl_refcoco', [35], 50, 32),
    ],
)
def test_schedule(name, milestones, epochs, batch):
    config = Config.fromfile(ROOT / f'configs/{name}.py')
    (step,) = config.param_scheduler
    assert (step.type, step.milestones, step.gamma) == ('MultiStepLR', milestones, 0.1)
    assert config.train_cfg.max_epochs == epochs
    assert config.train_dataloader.batch_size == batch // (8 if name.startswith('cris') else 4)
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=1e-4, weight_decay=0.0, fused=True)
