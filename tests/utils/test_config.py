"""Config files are changed as asked; config texts are read, never run."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmmagnet.registry import MODELS
from mmmagnet.utils.config import (
    ConfigError,
    check_amp,
    check_registered,
    check_tokenizers,
    config_from_text,
    enable_amp,
    load_config,
    parse_options,
    set_resume,
    set_seed,
)
from mmmagnet.utils.errors import CheckpointError

CONFIG = """
data_root = 'data/one'
pipeline = []
dataset = dict(type='RefCOCODataset', data_root=data_root, split='train', pipeline=pipeline)
train_dataloader = dict(sampler=dict(type='EpochSampler', shuffle=True, seed=0), dataset=dataset)
val_dataloader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))
test_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset, split='val')]))
optim_wrapper = dict(type='OptimWrapper')
randomness = dict(seed=0, deterministic=True)
load_from = None
resume = False
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
    assert config.data_root == two
    assert Path(config.work_dir) == Path('work_dirs/small')
    assert load_config(file, work_dir='elsewhere').work_dir == 'elsewhere'


@pytest.mark.parametrize(
    ('pairs', 'message'),
    [
        (['trian_dataloader.batch_size=1'], "no setting 'trian_dataloader'; did you mean train_dataloader"),
        (['nonsense'], "'nonsense' is not of the form name=value"),
        (['pipeline.3.type=x'], 'cfg-options'),
        (
            ['data_root=data/two'],
            r"'data_root' is a variable .* set these: train_dataloader\.dataset\.data_root, .*val_dataloader\.dataset"
            r'\.dataset\.data_root, test_dataloader\.dataset\.datasets\.0\.data_root, .*1\.data_root',
        ),
        (['dataset.split=val'], r"'dataset' is a variable .* set these: train_dataloader\.dataset, "),
    ],
)
def test_wrong_options(file, pairs, message):
    with pytest.raises(ConfigError, match=message):
        load_config(file, parse_options(pairs))


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


def test_a_model_of_several_sets_is_scored_on_one(file):
    mixed = "dict(type='MixedReferringDataset', datasets=[dataset, dict(dataset, data_root='data/other')])"
    text = CONFIG.replace('seed=0), dataset=dataset)', f'seed=0), dataset={mixed})')
    assert text != CONFIG
    file.write_text(text)
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.datasets\.0\.data_root=FOLDER'):
        load_config(file, data_root='data/new')
    config = load_config(file, data_root='data/new', training=False)
    assert config.val_dataloader.dataset.dataset.data_root == config.data_root == 'data/new'
    assert [part.data_root for part in config.train_dataloader.dataset.datasets] == ['data/one', 'data/other']
    named = {'train_dataloader.dataset.datasets.1.data_root': 'data/named'}
    assert load_config(file, named).train_dataloader.dataset.datasets[1].data_root == 'data/named'
    set_seed(config, 7)
    assert [part.seed for part in config.train_dataloader.dataset.datasets] == [7, 7]


def test_seed_reaches_everything_random(file):
    config = load_config(file)
    set_seed(config, 7)
    assert config.randomness == {'seed': 7, 'deterministic': True}
    assert config.train_dataloader.sampler.seed == 7
    assert config.train_dataloader.dataset.seed == 7
    config.model = dict(data_preprocessor=dict(type='MultiSizePreProcessor', sizes=(8, 16)))
    set_seed(config, 8)
    assert config.model.data_preprocessor.seed == 8


def test_amp_needs_a_gpu(file, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with pytest.raises(ConfigError, match=r'--amp.*needs a GPU'):
        enable_amp(load_config(file))
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    config = load_config(file)
    enable_amp(config)
    assert config.optim_wrapper == {'type': 'AmpOptimWrapper', 'dtype': 'float16', 'loss_scale': 'dynamic'}
    config.optim_wrapper.type = 'Mine'
    with pytest.raises(ConfigError, match='is a Mine'):
        enable_amp(config)


def test_a_config_with_amp_needs_a_gpu(monkeypatch):
    config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper')))
    for device in ('cuda', 'cpu'):
        monkeypatch.setattr('mmengine.device.get_device', lambda device=device: device)
        if device == 'cuda':
            check_amp(config)
    with pytest.raises(ConfigError, match=r'AmpOptimWrapper: .* needs a GPU'):
        check_amp(config)


@pytest.mark.parametrize('seed', [-1, 2**32])
def test_no_seed(file, seed):
    with pytest.raises(ConfigError, match=f'seed {seed}: give one from 0'):
        set_seed(load_config(file), seed)


def test_resume(file, tmp_path):
    config = load_config(file, {'load_from': 'pretrained.pth'}, work_dir=tmp_path / 'run')
    set_resume(config, None)
    assert (config.resume, config.load_from) == (False, 'pretrained.pth')
    (tmp_path / 'run').mkdir()
    latest, other = tmp_path / 'run' / 'epoch_3.pth', tmp_path / 'epoch_2.pth'

    def stored(change):
        before = load_config(file)
        change(before)
        return {'meta': {'epoch': 1, 'iter': 9, 'cfg': before.pretty_text}, 'state_dict': {}, 'optimizer': {}}

    torch.save(stored(lambda config: set_seed(config, 5)), latest)
    torch.save(stored(lambda config: config.merge_from_dict({'randomness.seed': 7})), other)
    config.randomness.deterministic = False
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(latest))
    set_resume(config, other)
    assert (config.resume, config.load_from) == (True, str(other))
    assert config.randomness == {'seed': 7, 'deterministic': False}
    assert config.train_dataloader.dataset.get('seed') is None  # had none of its own
    set_resume(config, None)
    assert (config.resume, config.load_from) == (True, str(latest))
    assert config.train_dataloader.dataset.seed == 5
    assert config.train_dataloader.sampler.seed == 5
    with pytest.raises(FileNotFoundError, match=r'epoch_9\.pth'):
        set_resume(config, tmp_path / 'epoch_9.pth')
    (tmp_path / 'folder').mkdir()
    set_resume(config, tmp_path / 'folder')  # DeepSpeed's
    assert (config.resume, config.load_from) == (True, str(tmp_path / 'folder'))
    config.param_scheduler = [dict(type='PolyLR', end=9)]
    with pytest.raises(ConfigError, match=r'epoch_2\.pth: was trained with another param_scheduler'):
        set_resume(config, other)
    config.pop('param_scheduler')
    config.optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1))
    with pytest.raises(ConfigError, match=r'epoch_2\.pth: was trained with another optim_wrapper\.optimizer'):
        set_resume(config, other)


@pytest.mark.parametrize(
    'content', [{'state_dict': {}}, {'state_dict': {}, 'meta': {'epoch': 1, 'iter': 9}}, {'optimizer': {}, 'meta': {}}]
)
def test_weights_alone_are_not_resumed(file, tmp_path, content):
    torch.save(content, tmp_path / 'best.pth')
    with pytest.raises(CheckpointError, match=r'best\.pth: has weights but no state .*load_from=.*best\.pth'):
        set_resume(load_config(file), tmp_path / 'best.pth')


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
def test_types_of_a_text_are_registered_parts(name):
    with pytest.raises(ConfigError, match=r"x\.pth: type='.*' is no registered part"):
        check_registered({'type': 'FCNHead', 'parts': [{'norm': {'type': name, 'command': 'x'}}]}, MODELS, 'x.pth')


@pytest.mark.parametrize(
    'name', ['FCNHead', 'mmseg.FCNHead', 'ReferringSegmentor', 'BN', 'GELU', 'mmpretrain.ConvNeXt']
)
def test_registered_types_pass(name):
    if name.startswith('mmpretrain.'):
        pytest.importorskip('mmpretrain')
    check_registered({'type': name, 'x': [({'type': 'LN'},)]}, MODELS, 'x.pth')


def test_initialisers_pass_where_they_belong():
    initialiser = {'type': 'Pretrained', 'checkpoint': 'x'}
    check_registered({'type': 'FCNHead', 'init_cfg': [initialiser]}, MODELS, 'x.pth')
    for misplaced in ({'loss': initialiser}, {'init_cfg': {'type': 'FCNHead'}}, {'init_cfg': {'type': 'os.system'}}):
        with pytest.raises(ConfigError, match='is no registered part'):
            check_registered({'type': 'FCNHead', **misplaced}, MODELS, 'x.pth')


def test_configs_of_the_installed_package(tmp_path, monkeypatch):
    folder = tmp_path / 'mmmagnet' / '.mim' / 'configs'
    folder.mkdir(parents=True)
    (folder / 'packed.py').write_text('a = 1')
    monkeypatch.setattr('mmmagnet.utils.config.__file__', str(tmp_path / 'mmmagnet' / 'utils' / 'config.py'))
    assert load_config('configs/packed.py').a == 1


SYNTHETIC = 'package://mmmagnet/datasets/synthetic/tokenizer'


@pytest.mark.parametrize(
    ('encoder', 'message'),
    [
        (dict(vocab_size=160, mask_token_id=4), None),
        (dict(vocab_size=200, mask_token_id=None), None),
        (dict(vocab_size=160, max_tokens=20), None),
        (dict(vocab_size=160, max_tokens=19), 'max_length=20, but the text encoder has places for 19 tokens'),
        (dict(vocab_size=100, mask_token_id=4), r'tokenizer=.* has 160 words and .*vocab_size=100 fewer'),
        (dict(vocab_size=160, mask_token_id=103), r'mask_token_id=103, but \[MASK\] of .* is 4: take the tokenizer'),
        (None, None),
    ],
)
def test_tokenizers_belong_to_the_text_encoder(encoder, message):
    dataset = dict(
        type='RefCOCODataset', pipeline=[dict(type='TokenizeExpression', tokenizer=SYNTHETIC, max_length=20)]
    )
    config = Config(dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))))
    model = torch.nn.Module()
    model.text_encoder = encoder and SimpleNamespace(**encoder)
    if message is None:
        check_tokenizers(config, model)
    else:
        with pytest.raises(ConfigError, match=message):
            check_tokenizers(config, model)


def test_no_workers_are_not_kept(file):
    file.write_text('train_dataloader = dict(num_workers=2, persistent_workers=True)\n')
    for workers, kept in ((2, True), (0, False)):
        config = load_config(file, {'train_dataloader.num_workers': workers})
        assert config.train_dataloader.persistent_workers is kept
