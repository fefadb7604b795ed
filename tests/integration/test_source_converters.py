"""The converters of other sources as a user runs them."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

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
    arguments = {
        'grefcoco': [tmp_path, '--images', tmp_path],
        'mdetr': [tmp_path / 'x_val.json', '--images', tmp_path],
    }
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return arguments
    row = {**ref, 'raw_anns': INSTANCES['annotations'][0], 'raw_image_info': INSTANCES['images'][0]}
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / 'x.parquet')
    return {**arguments, 'parquet': [tmp_path / 'x.parquet', '--images', tmp_path]}


@pytest.mark.parametrize('name', ['grefcoco', 'parquet', 'mdetr'])
def test_converter(name, sources, tmp_path, capsys):
    if name not in sources:
        pytest.skip('no pyarrow')
    out = tmp_path / 'out'
    assert run(name, *sources[name], '--out', out) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-2:] == ['val              1          1       1', f'wrote {out}']
    assert '1 of 1 images are not there' in told.err
    assert run(name, *sources[name], '--out', out) == 2
    assert 'holds other content' in capsys.readouterr().err
    assert run(name, *sources[name], '--out', out, '--overwrite') == 0


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
