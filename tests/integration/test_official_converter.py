"""From a released file to a checkpoint that scoring, training and inference take, through the command lines."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmmagnet.apis import ReferringInferencer
from mmmagnet.datasets.transforms.expression import load_tokenizer
from mmmagnet.model_converters import CONVERTERS, load_cases
from mmmagnet.utils.checkpoint import checkpoint_config, load_file
from mmmagnet.utils.config import load_config

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests' / 'data' / 'official_parity'
SIZES = {
    'magnet': 'official_parity/arch_small.json',
    'lavt': 'official_parity/arch_lavt_small.json',
    'rela': 'official_parity_rela/arch_small.json',
    'caris': 'official_parity_caris/arch_caris_small.json',
}
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


def run(tool, *arguments):
    """Exit status of a tool."""
    spec = importlib.util.spec_from_file_location(f'tool_{Path(tool).stem}', ROOT / 'tools' / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


def official(*arguments):
    return run('model_converters/official.py', *arguments)


@pytest.fixture
def convert(tmp_path):
    """Convert ``released.pth`` with the published config at the sizes of the parity cases."""

    def run_converter(kind, out='ours.pth'):
        converter = next(converter for converter in CONVERTERS if converter.kind == kind)
        sizes = json.loads((DATA.parent / SIZES[kind]).read_text())
        config = load_config(str(ROOT / 'configs' / converter.config))
        config.model = converter.resize(config.model.to_dict(), sizes)
        config.dump(str(tmp_path / 'config.py'))
        return official(tmp_path / 'released.pth', tmp_path / out, '--config', tmp_path / 'config.py')

    return run_converter


@pytest.fixture(params=['magnet', 'lavt', 'lavt apart', 'rela', 'caris'])
def converted(request, released, convert, tmp_path):
    """Kind, and the checkpoint made of a small released file."""
    kind, _, apart = request.param.partition(' ')
    torch.save(released(kind, bool(apart), 'module.'), tmp_path / 'released.pth')
    assert convert(kind, 'new/ours.pth') == 0
    return kind, tmp_path / 'new' / 'ours.pth'


def test_note_says_where_it_came_from(converted, capsys):
    kind, path = converted
    content = load_file(path)
    note = content['meta']['official']
    assert (note['from'], note['network'], len(note['sha256'])) == ('released.pth', kind, 64)
    assert len(note['unused']) == len(set(note['unused']))
    assert any(name.endswith('relative_position_index') for name in note['unused'])
    assert not any(name.startswith('classifier.') for name in note['unused'])
    assert {value.dtype for value in content['state_dict'].values()} <= {torch.float32, torch.int64}
    assert not list(path.parent.glob('*.part'))


def write_set(root):
    """Two images with a rectangle, in three splits."""
    (root / 'images').mkdir(parents=True)
    refs, images, annotations = [], [], []
    for index in range(2):
        Image.new('RGB', (64, 48), (90 * index, 80, 70)).save(root / 'images' / f'{index}.png')
        images.append({'id': index, 'file_name': f'{index}.png', 'width': 64, 'height': 48})
        polygon = [4, 10, 24, 10, 24, 30, 4, 30]
        annotations.append({'id': index, 'image_id': index, 'category_id': 1, 'segmentation': [polygon]})
        for split in ('train', 'val', 'testA'):
            sentence = {'sent_id': len(refs), 'raw': 'the red square', 'sent': 'red square'}
            ref = {'ref_id': len(refs), 'image_id': index, 'ann_ids': [index], 'category_id': 1}
            refs.append({**ref, 'split': split, 'sentences': [sentence]})
    instances = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'square'}]}
    (root / 'instances.json').write_text(json.dumps(instances))
    (root / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    return root


def test_taken_as_it_is(converted, tmp_path, capsys):
    """By tools/test.py, as `load_from` of a training, and by the inferencer; only tokenizer and sizes are changed."""
    _, path = converted
    data = write_set(tmp_path / 'data')
    config = checkpoint_config(path)
    for pipeline in (config.train_pipeline, config.test_pipeline):
        for step in pipeline:
            if step['type'] == 'TokenizeExpression':
                step['tokenizer'] = TOKENIZER
            if step['type'] == 'Resize':
                step['scale'] = (64, 64)
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader['dataset']['pipeline'] = config[f'{"train" if name == "train" else "test"}_pipeline']
    config.model.backbone.pretrained = config.model.text_encoder.pretrained = None
    config.model.text_encoder.mask_token_id = load_tokenizer(TOKENIZER).mask_token_id
    config.optim_wrapper = dict(type='OptimWrapper', optimizer=config.optim_wrapper.optimizer)  # fp16 needs a GPU
    if 'max_iters' in config.train_cfg:
        config.train_cfg.update(max_iters=1, val_interval=1)
    else:
        config.train_cfg.update(max_epochs=1, val_interval=1)
    config.dump(str(tmp_path / 'small.py'))
    shared = ['--data-root', data, '--work-dir', tmp_path / 'work', '--device', 'cpu']

    assert run('test.py', tmp_path / 'small.py', path, '--metrics-out', tmp_path / 'scores.json', *shared) == 0
    assert json.loads((tmp_path / 'scores.json').read_text())['testA']['metrics']['ref/pairs'] == 2
    options = ['--cfg-options', f'load_from={path}', 'optim_wrapper.optimizer.lr=0.0', 'train_cfg.val_interval=9']
    assert run('train.py', tmp_path / 'small.py', *shared, *options) == 0
    (written,) = (tmp_path / 'work').glob('[ei]*_1.pth')  # after an epoch, or an iteration
    trained = load_file(written)['state_dict']
    for name, value in load_file(path)['state_dict'].items():
        if 'running_' not in name and 'num_batches' not in name:
            torch.testing.assert_close(trained[name], value, msg=name)

    result = ReferringInferencer(config, path, 'cpu')(data / 'images' / '0.png', 'the red square')
    assert result.mask.shape == (48, 64)


def test_check(capsys):
    assert official('--check', DATA, '--case', 'wide', 'lavt_wide') == 0
    out = capsys.readouterr().out
    assert 'wide: magnet, 1 x 80 x 132, 12 tokens' in out
    assert out.splitlines()[-1] == 'all arrays agree'
    assert out.count('max |error|') == 15


def test_check_fails(tmp_path, capsys):
    """An expected number that is off by more than the tolerance: exit status 1."""
    for file in DATA.glob('*lavt*'):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (case,) = load_cases(DATA, ['lavt_wide'])
    (tmp_path / 'cases.json').write_text(json.dumps({'lavt_wide': case.settings}))
    logits = case.expected['logits'].copy()
    logits[0, 0, 0, 0] += 2e-3 * np.abs(logits).max()
    np.savez(tmp_path / 'expected_lavt_wide.npz', **{**case.expected, 'logits': logits})
    assert official('--check', tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1] == '1 arrays differ'


def test_check_of_a_wrong_folder(tmp_path, capsys):
    assert official('--check', tmp_path) == 2
    assert 'cases.json: no such file' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: content['model'].pop('classifier.conv1_1.bias'), 'it lacks decode_head.classify.bias (1 of '),
        (
            lambda content: content['model'].update({'classifier.conv9.bias': torch.zeros(2)}),
            'the config makes no classifier.conv9.bias',
        ),
        (
            lambda content: content['model'].update({'classifier.conv1_1.bias': torch.zeros(3)}),
            'classifier.conv1_1.bias (here decode_head.classify.bias) has shape (3,), the config makes (2,)',
        ),
        (lambda content: setattr(content['args'], 'mha', '1-1-1-3'), 'no network can be built with the options of '),
        (lambda content: setattr(content['args'], 'mha', '2-2'), "args.mha is '2-2', expected four numbers of heads"),
    ],
)
def test_refused_and_nothing_written(change, message, released, convert, tmp_path, capsys):
    content = released('lavt')
    change(content)
    torch.save(content, tmp_path / 'released.pth')
    assert convert('lavt', 'new/ours.pth') == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith('error: ') and str(tmp_path / 'released.pth') in error
    assert message in error
    assert not (tmp_path / 'new').exists()


def test_the_released_file_is_never_overwritten(released, tmp_path, capsys):
    torch.save(released('lavt'), tmp_path / 'released.pth')
    before = (tmp_path / 'released.pth').read_bytes()
    (tmp_path / 'link.pth').symlink_to('released.pth')
    assert official(tmp_path / 'released.pth', tmp_path / 'link.pth') == 2
    assert 'link.pth: is IN itself' in capsys.readouterr().err
    assert (tmp_path / 'released.pth').read_bytes() == before


@pytest.mark.parametrize(
    'error', [OSError(28, 'No space left on device'), RuntimeError('unexpected pos 64 vs 0: No space left on device')]
)
def test_full_disk(released, convert, tmp_path, capsys, monkeypatch, error):
    def full(content, stream):
        stream.write(b'half')
        raise error

    torch.save(released('lavt'), tmp_path / 'released.pth')
    monkeypatch.setattr(torch, 'save', full)
    assert convert('lavt') == 2
    said = capsys.readouterr().err
    assert 'ours.pth: cannot be written, is the disk full? (' in said and 'No space left on device)' in said
    assert not list(tmp_path.glob('ours*'))


def test_another_size_than_the_config(released, tmp_path, capsys):
    torch.save(released('lavt'), tmp_path / 'released.pth')
    assert official(tmp_path / 'released.pth', tmp_path / 'ours.pth') == 2
    error = capsys.readouterr().err
    assert 'has shape (32, 3, 4, 4), the config makes (128, 3, 4, 4); ' in error and '--config' in error


@pytest.mark.parametrize('arguments', [[], ['a.pth'], ['a.pth', 'b.txt'], ['a.pth', 'b.pth', '--check', 'c']])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        official(*arguments)
    assert stopped.value.code == 2
