"""The converters of other sources as a user runs them."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_converters'


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Python puts a script's folder on the path."""
    monkeypatch.syspath_prepend(TOOLS)


INSTANCES = {
    'images': [{'id': 1, 'file_name': '1.jpg', 'width': 8, 'height': 8}],
    'annotations': [{'id': 2, 'image_id': 1, 'category_id': 1, 'segmentation': [[1, 1, 5, 1, 5, 5]]}],
    'categories': [{'id': 1, 'name': 'thing'}],
}


def run(name, *arguments):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


@pytest.fixture
def sources(tmp_path):
    """The same ref in each layout; the arguments of each tool."""
    sentence = {'raw': 'it', 'sent_id': 0}
    ref = {'ref_id': 0, 'image_id': 1, 'split': 'val', 'category_id': 1, 'ann_id': 2, 'sentences': [sentence]}
    (tmp_path / 'grefcoco').mkdir()
    (tmp_path / 'grefcoco' / 'grefs(unc).json').write_text(json.dumps([{**ref, 'ann_id': [2]}]))
    (tmp_path / 'grefcoco' / 'instances.json').write_text(json.dumps(INSTANCES))
    mdetr = {
        **INSTANCES,
        'images': [{**INSTANCES['images'][0], 'original_id': 1, 'caption': 'it'}],
        'annotations': [{**INSTANCES['annotations'][0], 'original_id': 2}],
    }
    (tmp_path / 'x_val.json').write_text(json.dumps(mdetr))
    entry = {'image_id': 1, 'width': 8, 'height': 8, 'expressions': ['it'], 'mask': [[1, 1, 5, 1, 5, 5]]}
    (tmp_path / 'seqtr.json').write_text(json.dumps({'val': [entry]}))
    for folder in ('anns/refcoco', 'masks/refcoco', 'photographs'):
        (tmp_path / folder).mkdir(parents=True)
    cris = {'segment_id': 5, 'img_name': '1.jpg', 'cat': 1, 'sentences': [{'idx': 0, 'sent_id': 0, 'sent': 'it'}]}
    (tmp_path / 'anns' / 'refcoco' / 'val.json').write_text(json.dumps([cris]))
    Image.new('L', (8, 8), 255).save(tmp_path / 'masks' / 'refcoco' / '5.png')
    own = {**INSTANCES, 'annotations': [{**INSTANCES['annotations'][0], 'attributes': {'said': 'it'}}]}
    (tmp_path / 'own.json').write_text(json.dumps(own))
    del mdetr['annotations'][0]['segmentation']
    (tmp_path / 'boxes_val.json').write_text(json.dumps(mdetr))
    (tmp_path / 'refcoco').mkdir()
    (tmp_path / 'refcoco' / 'refs(unc).p').write_bytes(pickle.dumps([ref], 2))
    (tmp_path / 'refcoco' / 'instances.json').write_text(json.dumps(INSTANCES))
    arguments = {
        'grefcoco': [tmp_path, '--images', tmp_path],
        'mdetr': [tmp_path / 'x_val.json', '--images', tmp_path],
        'mdetr with instances': [
            tmp_path / 'boxes_val.json',
            '--instances',
            tmp_path / 'grefcoco' / 'instances.json',
            '--images',
            tmp_path,
        ],
        'seqtr': [tmp_path / 'seqtr.json', '--images', tmp_path],
        'cris': [tmp_path, '--dataset', 'refcoco', '--images', tmp_path],
        'custom': [f'val={tmp_path / "own.json"}', '--field', 'attributes.said', '--images', tmp_path],
        'refer': [tmp_path, '--dataset', 'refcoco', '--split-by', 'unc', '--images', tmp_path],
    }
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return arguments
    row = {**ref, 'raw_anns': INSTANCES['annotations'][0], 'raw_image_info': INSTANCES['images'][0]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / 'x.parquet')
    return {**arguments, 'parquet': [tmp_path / 'x.parquet', '--images', tmp_path]}


NAMES = ['refer', 'grefcoco', 'parquet', 'mdetr', 'mdetr with instances', 'seqtr', 'cris', 'custom']


@pytest.mark.parametrize('given', NAMES)
def test_converter(given, sources, tmp_path, capsys):
    """Converted, and looked through by verify: the same report of every source."""
    if given not in sources:
        pytest.skip('no pyarrow')
    name = given.split()[0]
    out = tmp_path / 'out'
    assert run(name, *sources[given], '--out', out) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-2:] == ['val              1          1       1', f'wrote {out}']
    assert '1 of 1 images are not there' in told.err
    assert run(name, *sources[given], '--out', out) == 2
    assert 'holds other content' in capsys.readouterr().err
    assert run(name, *sources[given], '--out', out, '--overwrite') == 0
    assert run('verify', out, '--no-images', '--tokenizer', 'package://mmmagnet/datasets/synthetic/tokenizer') == 0
    capsys.readouterr()
    assert run(name, tmp_path / 'nowhere', *sources[given][1:], '--out', tmp_path / 'other') == 2
    printed, errors = capsys.readouterr()
    assert not printed and errors.startswith('error: ') and errors.count('\n') == 1
    assert not (tmp_path / 'other').exists()


def test_own_photographs(tmp_path, capsys):
    """Images are beside the labels by default, and a share of them becomes val."""
    points = [[1, 1], [6, 1], [6, 6]]
    for number in range(5):
        shape = {'label': 'cup', 'points': points, 'description': f'cup {number}', 'shape_type': 'polygon'}
        content = {'shapes': [shape], 'imagePath': f'{number}.png', 'imageWidth': 8, 'imageHeight': 8}
        (tmp_path / 'photographs').mkdir(exist_ok=True)
        (tmp_path / 'photographs' / f'{number}.json').write_text(json.dumps(content))
        Image.new('RGB', (8, 8)).save(tmp_path / 'photographs' / f'{number}.png')
    out = tmp_path / 'out'
    assert run('custom', tmp_path / 'photographs', '--out', out, '--val-share', '0.4') == 0
    printed, errors = capsys.readouterr()
    assert sorted(line.split()[:2] for line in printed.splitlines()[1:3]) == [['train', '3'], ['val', '2']]
    assert '2 of them, by their names, are val' in errors and errors.count('\n') == 1
    assert (out / 'images').resolve() == tmp_path / 'photographs'
    tokenizer = 'package://mmmagnet/datasets/synthetic/tokenizer'
    assert run('verify', out, '--tokenizer', tokenizer) == 0
    with pytest.raises(SystemExit):
        run('custom', tmp_path / 'photographs', '--out', out, '--val-share', '2')


def test_splits_of_mdetr(sources, tmp_path, capsys):
    file = sources['mdetr'][0]
    out = tmp_path / 'out'
    assert run('mdetr', f'testA={file}', file, '--images', tmp_path, '--out', out) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ['testA', 'val']
    (tmp_path / 'a=b').mkdir()
    moved = Path(shutil.copy(file, tmp_path / 'a=b' / 'x_val.json'))
    assert run('mdetr', moved, f'testA={moved}', '--images', tmp_path, '--out', tmp_path / 'c') == 0
    assert run('mdetr', f'val={file}', file, '--images', tmp_path, '--out', tmp_path / 'b') == 2
    assert 'a second file of the split val' in capsys.readouterr().err
