"""Recipes and sizes of the methods other than MagNet, as published."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

import mmmagnet  # noqa: F401
from mmmagnet.registry import MODELS

ROOT = Path(__file__).parents[1]


def build(name):
    config = Config.fromfile(ROOT / 'configs' / name)
    init_default_scope('mmseg')
    with torch.device('meta'):
        return config, MODELS.build(config.model)


def groups(name):
    """Weight name -> (rate, weight decay) of what is trained."""
    config, model = build(name)
    wrapper = config.optim_wrapper.to_dict()
    assert (wrapper.pop('type'), wrapper.pop('dtype')) == ('AmpOptimWrapper', 'float16')
    wrapper.pop('loss_scale')
    names = {weight: name for name, weight in model.named_parameters()}
    return model, {
        names[weight]: (group['lr'], group['weight_decay'])
        for group in build_optim_wrapper(model, {**wrapper, 'type': 'OptimWrapper'}).optimizer.param_groups
        for weight in group['params']
        if weight.requires_grad
    }


@pytest.mark.parametrize(
    ('name', 'parts', 'total'),
    [
        (
            'caris/caris_swin_b_refcoco.py',
            {r'backbone|neck\.norms': 86.75, 'text_encoder': 108.89, r'neck\.prompt': 2.76, 'decode_head': 28.18},
            226.57,
        ),
        (
            'rela/rela_swin_b_grefcoco.py',
            {
                'backbone|neck': 96.1,
                'text_encoder': 108.9,
                r'decode_head\.pixel_decoder': 5.5,
                r'decode_head\.region_decoder': 15.0,
            },
            225.5,
        ),
    ],
)
def test_published_size(name, parts, total):
    """The release of ReLA has no gate behind stage 4; ours feeds Mask Grounding alone."""
    model = build(name)[1]
    sizes = {key: value.numel() for key, value in model.named_parameters() if not key.startswith('neck.stages.3.gate')}

    def millions(pattern):
        return sum(size for key, size in sizes.items() if re.match(pattern, key)) / 1e6

    assert millions('') == pytest.approx(total, abs=0.051 if total == 225.5 else 0.0051)
    for pattern, size in parts.items():
        assert millions(pattern) == pytest.approx(size, abs=0.051 if total == 225.5 else 0.0051), pattern


def test_groups_of_caris():
    model, found = groups('caris/caris_swin_b_refcoco.py')
    assert found.keys() == {name for name, _ in model.named_parameters()}
    norms = {
        f'{name}.{part}'
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part in ('weight', 'bias')
    }
    assert len(norms) > 200
    for name, (rate, decay) in found.items():
        encoder = re.match(r'backbone|text_encoder|neck\.norms', name)
        assert rate == pytest.approx(1e-5 if encoder else 1e-4), name
        bare = name in norms or re.search(r'bias_table|text_encoder\.embeddings|\.prompts$', name)
        assert decay == (0 if bare else 0.01), name
    for name in ('finest.lateral.gn.weight', 'two_way_decoder.level_embed', 'two_way_decoder.layers.0.words_scale'):
        assert found[f'decode_head.{name}'] == (1e-4, 0.01)


def test_groups_of_rela():
    model, found = groups('rela/rela_swin_b_grefcoco.py')
    frozen = {name for name, _ in model.named_parameters()} - found.keys()
    assert {re.match(r'text_encoder\.(embeddings|layers\.\d+)|neck\.stages\.3\.gate', name)[0] for name in frozen} == {
        'text_encoder.embeddings',
        'text_encoder.layers.10',
        'text_encoder.layers.11',
        'neck.stages.3.gate',  # nothing reads it without Mask Grounding
    }
    norms = {
        f'{name}.{part}'
        for name, module in model.named_modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm)) and not name.startswith('text_encoder')
        for part in ('weight', 'bias')
    }
    for name, (rate, decay) in found.items():
        assert rate == 1e-5
        bare = name in norms or re.search(r'bias_table|region_decoder\.(query_feat|query_embed|level_embed)', name)
        assert decay == (0 if bare else 0.05), name
    for name in ('decode_head.region_decoder.word_weight', 'decode_head.pixel_decoder.level_embed'):
        assert found[name] == (1e-5, 0.05)


@pytest.mark.parametrize(
    ('name', 'clip', 'batch', 'size', 'text'),
    [
        ('caris/caris_swin_b_refcoco.py', 1.0, 8, 448, 'sent'),
        ('caris/caris_swin_b_refcocog_google.py', 1.0, 8, 448, 'sent'),
        ('rela/rela_swin_b_grefcoco.py', 0.01, 6, 480, None),
        ('rela/rela_swin_b_refcoco.py', 0.01, 6, 480, None),
    ],
)
def test_recipe(name, clip, batch, size, text):
    config = build(name)[0]
    assert config.optim_wrapper.clip_grad.max_norm == clip
    assert config.train_dataloader.batch_size == batch
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.get('text_field') == text
        (resize,) = [step for step in loader.dataset.pipeline if step.type == 'Resize']
        assert tuple(resize.scale) == (size, size)


@pytest.mark.parametrize('method', ['caris', 'rela'])
def test_grounding_differs_by_auxiliary_heads_alone(method):
    folder = ROOT / 'configs' / method
    (path,) = folder.glob('*_grounding.py')
    plain = {'caris': 'caris_swin_b_refcoco.py', 'rela': 'rela_swin_b_grefcoco.py'}[method]
    with_heads, without = Config.fromfile(path), Config.fromfile(folder / plain)
    assert [head.type for head in with_heads.model.pop('auxiliary_head')] == ['MaskGroundingHead', 'AlignmentHead']
    assert without.model.pop('auxiliary_head') == []
    assert with_heads.to_dict() == without.to_dict()
