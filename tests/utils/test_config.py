"""Config files are changed as asked; config texts are read, never run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmagnet.registry import MODELS
from mmmagnet.utils.config import (
    ConfigError,
    check_registered,
    config_from_text,
    dataset_configs,
    load_config,
    parse_options,
)

CONFIG = """
data_root = 'data/one'
pipeline = []
dataset = dict(type='RefCOCODataset', data_root=data_root, split='train', pipeline=pipeline)
train_dataloader = dict(sampler=dict(type='EpochSampler', shuffle=True), dataset=dataset)
val_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))
test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset, split='val')]))
optim_wrapper = dict(type='OptimWrapper')
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / 'small.py'
    path.write_text(CONFIG)
    return path


def test_options_data_root_and_work_dir(file, tmp_path):
    options = parse_options(['train_dataloader.sampler.shuffle=False', 'find_unused_parameters=True'])
    config = load_config(file, options, data_root=tmp_path / 'two')
    two = str(tmp_path / 'two')
    assert config.train_dataloader.sampler.shuffle is False
    assert config.find_unused_parameters is True
    assert config.train_dataloader.dataset.data_root == two
    assert config.val_dataloader.dataset.dataset.data_root == two
    assert [part.data_root for part in config.test_dataloader.dataset.datasets] == [two, two]
    assert Path(config.work_dir) == Path('work_dirs/small')
    assert load_config(file, work_dir='elsewhere').work_dir == 'elsewhere'


@pytest.mark.parametrize(
    ('pairs', 'message'),
    [
        (['trian_dataloader.batch_size=1'], "no setting 'trian_dataloader'; did you mean train_dataloader"),
        (['nonsense'], "'nonsense' is not of the form name=value"),
        (['pipeline.3.type=x'], 'cfg-options'),
        (["custom_hooks=[dict(type='X')"], r"custom_hooks: \"\[dict\(type='X'\)\" is no value"),
        (['custom_hooks=[dict(type=X)]'], 'custom_hooks: .* is no value: write it as in a config file, in quotes'),
        (["model=dict(x=__import__('os').system('y'))"], 'model: .* is no value'),
        (['model=[(1,2]'], 'model: .* cannot be read'),
        (['model=(((((x)))'], 'model: .* cannot be read'),
        (['data_root=data/two'], "'data_root' is a variable of the config file, .* set the settings that it went into"),
    ],
)
def test_wrong_options(file, pairs, message):
    with pytest.raises(ConfigError, match=message):
        load_config(file, parse_options(pairs))


def test_dicts_among_options():
    options = parse_options(
        [
            "custom_hooks=[dict(type='EMAHook', momentum=1e-4), dict(type='X', a=[1, None])]",
            "train_cfg={'_delete_': True, 'type': 'IterBasedTrainLoop'}",
            'size=(1,2)',
            'names=a,b',
            'text=a=b',
            'name=epoch_{}.pth',
        ]
    )
    assert options == {
        'custom_hooks': [dict(type='EMAHook', momentum=1e-4), dict(type='X', a=[1, None])],
        'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop'),
        'size': (1, 2),
        'names': ['a', 'b'],
        'text': 'a=b',
        'name': 'epoch_{}.pth',
    }


def test_dataset_configs():
    part = dict(type='RefCOCODataset')
    joined = dict(type='ConcatDataset', datasets=[part, dict(type='RepeatDataset', dataset=part)])
    for dataset, found in ((None, []), (part, [part]), (dict(type='RepeatDataset', dataset=joined), [part, part])):
        assert list(dataset_configs(dataset)) == found


def test_wrong_files(tmp_path, file):
    with pytest.raises(FileNotFoundError, match=r'none\.py: no such config file'):
        load_config(tmp_path / 'none.py')
    broken = tmp_path / 'broken.py'
    broken.write_text('a = (')
    with pytest.raises(ConfigError, match=r'broken\.py: '):
        load_config(broken)


def test_data_root_of_several_folders(file):
    file.write_text(CONFIG.replace("dict(dataset, split='val')", "dict(dataset, data_root='data/other')"))
    with pytest.raises(ConfigError, match='joins datasets of 2 folders'):
        load_config(file, data_root='data/new')


def test_data_root_of_a_model_that_several_sets_trained(file):
    mixed = "dict(type='MixedReferringDataset', datasets=[dataset, dict(dataset, data_root='data/other')])"
    text = CONFIG.replace('shuffle=True), dataset=dataset)', f'shuffle=True), dataset={mixed})')
    assert text != CONFIG
    file.write_text(text)
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.datasets\.0\.data_root=FOLDER'):
        load_config(file, data_root='data/new')
    config = load_config(file, data_root='data/new', training=False)
    assert config.val_dataloader.dataset.dataset.data_root == 'data/new'
    assert [part.data_root for part in config.train_dataloader.dataset.datasets] == ['data/one', 'data/other']
    named = {'train_dataloader.dataset.datasets.1.data_root': 'data/named'}
    assert load_config(file, named).train_dataloader.dataset.datasets[1].data_root == 'data/named'


def test_text_gives_back_the_config(file):
    settings = {
        'model': {'type': 'A', 'sizes': (1, 2), 'rates': [0.5, -1e-5], 'none': None, 'parts': [{'type': 'B'}, ()]},
        'names': {'a.b': {'c': 1}, 'plain': {3: 'x', 'y': {}}},
        'caption': 'it\'s "quoted"\nand é',
        'far': math.inf,
        'near': -math.inf,
        'yes': True,
    }
    assert config_from_text(Config(settings).pretty_text).to_dict() == settings
    config = Config.fromfile(str(file))
    assert config_from_text(config.pretty_text).to_dict() == config.to_dict()
    for path in sorted((Path(__file__).parents[2] / 'configs').glob('*.py')):
        config = Config.fromfile(str(path))
        assert config_from_text(config.pretty_text).to_dict() == config.to_dict(), path


@pytest.mark.parametrize(
    'text',
    [
        "import os\nos.system('touch {canary}')",
        "a = __import__('os').system('touch {canary}')",
        "a = open('{canary}', 'w')",
        "a = dict(b=[open('{canary}', 'w')])",
        "a = [open(name, 'w') for name in ['{canary}']]",
        "a = (lambda: open('{canary}', 'w'))()",
        'a = f\'{{open("{canary}", "w")}}\'',
        "a = dict(**{{'x': open('{canary}', 'w')}})",
        "a = {{**dict(x=open('{canary}', 'w'))}}",
        "dict = open\na = dict('{canary}')",
        "a.b = open('{canary}', 'w')",
        "if open('{canary}', 'w'): pass",
        "open('{canary}', 'w')",
        'a = b = 1',
        'a = 2 ** 9999999999',
        "a = 'x' * 9999999999",
        'a = -"x"',
        'a = unknown',
        'a = (',
        'a = {{[]: 1}}',
        'a = ' + '(' * 5000,
        '@',
    ],
)
def test_text_is_not_run(text, tmp_path):
    canary = tmp_path / 'canary'
    with pytest.raises(ConfigError, match=r'x\.pth.*--config'):
        config_from_text(text.format(canary=canary), source='x.pth')
    assert not canary.exists()


@pytest.mark.parametrize(
    'name', ['os.system', 'mmengine.load', 'builtins.print', 'antigravity', 'mmseg.registry', 'None']
)
def test_types_of_a_text_are_registered(name):
    with pytest.raises(ConfigError, match=r"x\.pth: type='.*' is no registered part"):
        check_registered({'type': 'FCNHead', 'parts': [{'norm': {'type': name, 'command': 'x'}}]}, MODELS, 'x.pth')


@pytest.mark.parametrize(
    'name', ['FCNHead', 'mmseg.FCNHead', 'ReferringSegmentor', 'BN', 'GELU', 'mmpretrain.ConvNeXt']
)
def test_registered_types_pass(name):
    if name.startswith('mmpretrain.'):
        pytest.importorskip('mmpretrain')
    check_registered({'type': name, 'x': [({'type': 'LN'},)]}, MODELS, 'x.pth')


def test_initializers_pass_in_init_cfg():
    initializer = {'type': 'Pretrained', 'checkpoint': 'x'}
    check_registered({'type': 'FCNHead', 'init_cfg': [initializer]}, MODELS, 'x.pth')
    for misplaced in ({'loss': initializer}, {'init_cfg': {'type': 'FCNHead'}}, {'init_cfg': {'type': 'os.system'}}):
        with pytest.raises(ConfigError, match='is no registered part'):
            check_registered({'type': 'FCNHead', **misplaced}, MODELS, 'x.pth')


def test_configs_of_the_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / 'mmmagnet' / '.mim' / 'configs'
    folder.mkdir(parents=True)
    (folder / 'packed.py').write_text('a = 1')
    monkeypatch.setattr('mmmagnet.utils.config.__file__', str(tmp_path / 'mmmagnet' / 'utils' / 'config.py'))
    assert load_config('configs/packed.py').a == 1


def test_persistent_workers_need_workers(file):
    file.write_text('train_dataloader = dict(num_workers=2, persistent_workers=True)\n')
    for workers, kept in ((2, True), (0, False)):
        config = load_config(file, {'train_dataloader.num_workers': workers})
        assert config.train_dataloader.persistent_workers is kept


@pytest.mark.parametrize('base', ['mmmagnet::configs/magnet_swin_b.py', 'mmmagnet::magnet_swin_b.py'])
def test_inheriting_by_a_name_that_cannot_work(base, file):
    file.write_text(f'_base_ = {base!r}')
    with pytest.raises(ConfigError, match=r'pip install \..* mmmagnet::_base_/\.\./NAME\.py for configs/NAME\.py'):
        load_config(file)
