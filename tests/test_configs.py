"""Every config builds without a network, and says what it should."""

import re
from pathlib import Path

import partly_grounded  # noqa: F401
import pytest
import torch
from grid import load_grid
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

import mmmagnet  # noqa: F401
from mmmagnet.registry import DATASETS, METRICS, MODELS
from mmmagnet.utils.config import load_config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('configs', 'configs/ablation', 'configs/caris', 'configs/rela')
    for path in (ROOT / folder).glob('*.py')
    if not path.name.startswith('grid')
)


def build(config):
    """The model on the meta device: shapes without memory."""
    init_default_scope('mmseg')
    with torch.device('meta'):
        return MODELS.build(config.model)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_builds(name, monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    config = Config.fromfile(ROOT / name)
    model = build(config)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        dataset = DATASETS.build({**config[loader].dataset, 'lazy_init': True})
        assert dataset.test_mode == (loader != 'train_dataloader')
        for part in getattr(dataset, 'datasets', [dataset]):
            assert not Path(part.data_root).is_absolute()
    for evaluator in (config.val_evaluator, config.test_evaluator):
        assert METRICS.build(evaluator).resolutions == ('input',)
    if config.model.get('encoding') == 'text_first':  # the ablation trains CRIS and DETRIS by the others' recipe
        return
    names = [parameter for parameter, _ in model.named_parameters()]
    own = {'level_embed', 'query_embed', 'in_proj_bias'} if config.model.decode_head.type != 'MagNetHead' else set()
    for key in config.optim_wrapper.paramwise_cfg.custom_keys.keys() - own:  # those are of MagNet's decoder
        assert any(key in parameter for parameter in names), f'{key} matches no parameter of {name}'


@pytest.mark.parametrize('name', CONFIGS)
def test_experiments_state_only_their_difference(name):
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith('#')]
    assert len(lines) <= 20


def test_published_size():
    model = build(Config.fromfile(ROOT / 'configs/magnet_swin_b.py'))
    grounding, alignment = model.auxiliary_head
    count = sum(parameter.numel() for parameter in model.parameters())
    count -= sum(parameter.numel() for parameter in grounding.parameters())
    assert f'{count / 1e6:.1f}' == '297.0'
    assert sum(parameter.numel() for parameter in alignment.parameters()) == 768 * 256 + 256


def test_mixed_sets():
    config = Config.fromfile(ROOT / 'configs/magnet_swin_b_mixed.py')
    dataset = config.train_dataloader.dataset
    assert dataset.exclude_held_out
    assert [part.data_root for part in dataset.datasets] == [
        'data/refcoco_unc',
        'data/refcoco+_unc',
        'data/refcocog_umd',
    ]
    single = Config.fromfile(ROOT / 'configs/magnet_swin_b.py').train_dataloader.dataset
    assert all({**part, 'data_root': single.data_root} == single for part in dataset.datasets)


def test_network_of_the_authors_checkpoint_on_all_sets():
    config, at_480 = (Config.fromfile(ROOT / f'configs/magnet_swin_b_official{name}.py') for name in ('_all', ''))
    assert config.model == at_480.model
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        for step, before in zip(config[loader].dataset.pipeline, at_480[loader].dataset.pipeline, strict=True):
            assert step == ({**before, 'scale': (448, 448)} if step.type == 'Resize' else before)


def test_no_decay_on_norms_biases_and_positions():
    config = Config.fromfile(ROOT / 'configs/magnet_swin_b.py')
    model = build(config)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    decayed = {name_of[p] for group in wrapper.optimizer.param_groups if group['weight_decay'] for p in group['params']}
    norms = {
        f'{name}.{parameter}'
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm))
        for parameter, _ in module.named_parameters(recurse=False)
    }
    assert norms
    assert not decayed & norms
    assert not [name for name in decayed if re.search(r'bias|position_embeddings|level_embed|query_embed', name)]
    assert 'backbone.stages.0.0.mlp.0.weight' in decayed


def test_one_rate_for_the_pretrained_text_encoder():
    config = Config.fromfile(ROOT / 'configs/magnet_tiny_custom.py')
    model = build(config)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    rate_of = {parameter: group['lr'] for group in wrapper.optimizer.param_groups for parameter in group['params']}
    assert {rate_of[parameter] for parameter in model.text_encoder.parameters()} == {1e-4}
    assert {rate_of[parameter] for parameter in model.backbone.parameters()} == {1e-3}


MAIN_RUNS = ('LAVT', 'LAVT + Mask Grounding', 'MagNet', 'MagNet without Mask Grounding')


@pytest.mark.parametrize(
    ('name', 'is_repeated'),
    [
        ('grid_more.py', lambda name: name in MAIN_RUNS),
        ('grid_methods.py', lambda name: not name.startswith(('CRIS', 'DETRIS'))),
        ('grid_gradients.py', lambda name: True),
        ('grid_pretrained.py', lambda name: True),
        ('grid_data.py', lambda name: True),
    ],
)
def test_grids_of_the_ablation(name, is_repeated):
    grid = load_grid(ROOT / 'configs/ablation' / name)
    seeds = {name: [run.seed for run in grid.runs if run.name == name] for name in grid.names}
    assert seeds == {name: [0, 1, 2] if is_repeated(name) else [0] for name in grid.names}
    for run in grid.runs:
        if run.seed:
            continue
        changed = load_config(run.config, run.options)
        build(changed)
        for option, value in run.options.items():
            part = changed
            for step in option.split('.'):
                part = part[int(step) if step.isdecimal() else step]
            assert part == value
