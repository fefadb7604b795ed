"""Checkpoints are read, never run; a damaged file is named."""

import argparse
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmmagnet.utils.checkpoint import (
    _parameters_without_memory,
    load_checked,
    load_file,
    read_checkpoint,
    register_safe_loader,
)
from mmmagnet.utils.errors import CheckpointError

WEIGHTS = {'a.weight': torch.arange(6.0).view(2, 3), 'b': torch.tensor([1, 2])}


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, 'w')


class ByName:
    """Looks something up by name when it is unpickled."""

    def __init__(self, owner, name):
        self.asked = owner, name

    def __reduce__(self):
        return getattr, self.asked


@pytest.mark.parametrize(
    'content',
    [
        WEIGHTS,
        {'state_dict': WEIGHTS, 'meta': {'epoch': 3, 'cfg': 'text'}},
        {'model': WEIGHTS, 'optimizer': {'state': {}}},
        {f'module.{name}': value for name, value in WEIGHTS.items()},
        {'state_dict': {f'module.{name}': value for name, value in WEIGHTS.items()}},
    ],
    ids=['plain', 'state_dict', 'model', 'module', 'both'],
)
def test_state_dict(content, tmp_path):
    torch.save(content, tmp_path / 'w.pth')
    check(read_checkpoint(tmp_path / 'w.pth'))


def test_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / 'w.safetensors')
    check(read_checkpoint(tmp_path / 'w.safetensors'))


def test_legacy_format(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'w.pth', _use_new_zipfile_serialization=False)
    check(read_checkpoint(str(tmp_path / 'w.pth')))


def check(weights):
    assert weights.keys() == WEIGHTS.keys()
    assert all(weights[name].equal(value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize('how', ['torch', 'legacy', 'pickle'])
def test_code_is_refused_without_effect(how, tmp_path):
    path, effect = tmp_path / 'evil.pth', tmp_path / 'effect'
    content = {'state_dict': WEIGHTS, 'meta': Touch(effect)}
    if how == 'pickle':
        path.write_bytes(pickle.dumps(content['meta']))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == 'torch')
    for load in (load_file, read_checkpoint):
        with pytest.raises(CheckpointError, match=r'evil\.pth: refused, .* could run code .*save its state dict alone'):
            load(path)
    assert not effect.exists()
    torch.load(path, weights_only=False) if how != 'pickle' else pickle.loads(path.read_bytes())
    assert effect.exists(), 'the file would have had an effect'


@pytest.mark.parametrize(
    'content',
    [ByName(HistoryBuffer, '__init__'), ByName(HistoryBuffer, 'register_statistics'), ByName(np.ndarray, 'tofile')],
    ids=['private', 'another method', 'another class'],
)
def test_only_the_statistics_of_log_buffers_are_looked_up(content, tmp_path):
    torch.save({'message_hub': content}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match='refused'):
        load_file(tmp_path / 'w.pth')


def test_log_buffers_of_mmengine(tmp_path):
    hub = MessageHub.get_instance('checkpoint_test')
    for value in (1.0, np.float32(2), torch.tensor(3.0)):
        hub.update_scalar('train/loss', value)
    hub.update_info('epoch', 2)
    torch.save({'state_dict': WEIGHTS, 'message_hub': hub.state_dict()}, tmp_path / 'w.pth')
    loaded = load_file(tmp_path / 'w.pth')['message_hub']
    buffer = loaded['log_scalars']['train/loss']
    assert buffer.statistics('mean', 3) == 2
    assert buffer.current() == 3
    assert loaded['runtime_info']['epoch'] == 2
    check(read_checkpoint(tmp_path / 'w.pth'))


def test_damaged(tmp_path):
    torch.save(WEIGHTS, tmp_path / 'whole.pth')
    save_file(WEIGHTS, tmp_path / 'whole.safetensors')
    for source in ('whole.pth', 'whole.safetensors'):
        whole = (tmp_path / source).read_bytes()
        for share in (0, 0.1, 0.5, 0.95):
            path = tmp_path / f'part{share}{source.removeprefix("whole")}'
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(CheckpointError) as caught:
                load_file(path)
            assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'version https://git-lfs.github.com/spec/v1', "no checkpoint, it begins with b'version https://git-lfs"),
        (b'<html>', "no checkpoint, it begins with b'<html>'"),
        (b'', "no checkpoint, it begins with b''"),
        (b'\x80\x04', 'not a whole checkpoint file'),
        (b'PK\x03\x04', 'not a whole checkpoint file'),
    ],
)
def test_another_kind_of_file(content, message, tmp_path):
    (tmp_path / 'w.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=rf'w\.pth: {message}'):
        load_file(tmp_path / 'w.pth')


def test_released_file_is_sent_to_the_converter(tmp_path):
    torch.save({'model': WEIGHTS, 'args': argparse.Namespace(lr=1)}, tmp_path / 'w.pth')
    with pytest.raises(
        CheckpointError, match=r'convert a released checkpoint with tools/model_converters/official\.py first'
    ):
        load_file(tmp_path / 'w.pth')


@pytest.mark.parametrize('protocol', [2, 3])
def test_pickle_protocols(protocol, tmp_path, recwarn):
    torch.save(WEIGHTS, tmp_path / 'w.pth', pickle_protocol=protocol)
    check(read_checkpoint(tmp_path / 'w.pth'))
    assert not recwarn.list


@pytest.mark.parametrize('name', ['none.pth', '.'])
def test_missing(name, tmp_path):
    with pytest.raises(FileNotFoundError, match='no such checkpoint file'):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    'content',
    [{}, {'state_dict': {}}, {'epoch': 3}, {'state_dict': {'a': 1.0}}, torch.zeros(2), [WEIGHTS], {0: torch.zeros(1)}],
    ids=str,
)
def test_no_state_dict(content, tmp_path):
    torch.save(content, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'w\.pth: holds no state dict'):
        read_checkpoint(tmp_path / 'w.pth')


def test_mmengine_loads_local_files_the_same_way(tmp_path, monkeypatch):
    effect = tmp_path / 'effect'
    torch.save({'state_dict': WEIGHTS}, tmp_path / 'good.pth')
    torch.save(Touch(effect), tmp_path / 'evil.pth')
    schemes = dict(CheckpointLoader._schemes)
    monkeypatch.setattr(CheckpointLoader, '_schemes', schemes)
    register_safe_loader()
    check(CheckpointLoader.load_checkpoint(str(tmp_path / 'good.pth'))['state_dict'])
    with pytest.raises(CheckpointError, match='could run code'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'))
    assert not effect.exists()


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        ({'bias': None}, {}, r'w\.pth: is of another model: it lacks bias \(1 of 2 entries missing\); use the config'),
        ({'weight': torch.zeros(2, 3)}, {}, r'weight has shape \(2, 3\), the config makes \(3, 2\)'),
        ({'weight': torch.zeros(2, 3)}, {'partial': True}, r'weight has shape \(2, 3\)'),
        ({'head.a': torch.zeros(1)}, {'fix': 'ask'}, r'makes no head\.a \(1 entries too many\); ask'),
        ({'bias': None, 'weight': None}, {'partial': True}, 'no entry fits'),
        ({'bias': None}, {'partial': True}, None),
        ({'head.a': torch.zeros(1)}, {'partial': True}, None),
        ({'head.a': torch.zeros(1)}, {'skip': ('head.',)}, None),
        ({'bias': None}, {'skip': ('bias',)}, None),
    ],
)
def test_load_checked(change, options, message):
    """What fits is loaded; an entry that does not is named, and then nothing is loaded."""
    layer = torch.nn.Linear(2, 3)
    before = layer.weight.clone()
    weights = {'weight': torch.ones(3, 2), 'bias': torch.ones(3)} | change
    weights = {name: value for name, value in weights.items() if value is not None}
    if message:
        with pytest.raises(CheckpointError, match=message):
            load_checked(layer, weights, 'w.pth', **options)
        assert layer.weight.equal(before)
    else:
        skipped = options.get('skip', ())
        left = load_checked(layer, weights, 'w.pth', **options)
        assert left == [name for name in ('weight', 'bias') if name not in weights and name not in skipped]
        assert all(layer.state_dict()[name].equal(value) for name, value in weights.items() if name[:4] != 'head')


def test_parameters_without_memory():
    """Nothing is allocated or drawn for parameters; buffers, which no checkpoint holds, are there."""
    with _parameters_without_memory():
        norm, linear = torch.nn.BatchNorm1d(3), torch.nn.Linear(30, 30)
        torch.nn.init.trunc_normal_(linear.weight.requires_grad_(False), std=0.02)
    assert linear.weight.is_meta and norm.weight.is_meta
    assert not linear.weight.requires_grad and linear.bias.requires_grad
    assert torch.equal(norm.running_var, torch.ones(3))
    assert not torch.nn.Linear(2, 2).weight.is_meta
