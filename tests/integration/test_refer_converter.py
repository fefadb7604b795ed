"""The converter as a user runs it: a table, one line for an error, exit codes."""

import json
import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'refer.py'


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Python puts a script's folder on the path."""
    monkeypatch.syspath_prepend(TOOL.parent)


@pytest.fixture
def root(tmp_path):
    """A set of two refs in REFER's layout."""
    polygon = [[1, 1, 5, 1, 5, 5, 1, 5]]
    refs = [
        {
            'ref_id': number,
            'ann_id': number,
            'category_id': 1,
            'image_id': 5,
            'file_name': f'5_{number}.jpg',
            'split': split,
            'sent_ids': [number],
            'sentences': [{'raw': f'thing {number}', 'sent': '', 'sent_id': number, 'tokens': []}],
        }
        for number, split in enumerate(['train', 'testA'])
    ]
    instances = {
        'images': [{'id': 5, 'file_name': '5.jpg', 'width': 8, 'height': 8}],
        'annotations': [{'id': number, 'image_id': 5, 'category_id': 1, 'segmentation': polygon} for number in (0, 1)],
        'categories': [],
    }
    folder = tmp_path / 'refer' / 'refcoco+'
    folder.mkdir(parents=True)
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs, 2))
    (folder / 'instances.json').write_text(json.dumps(instances))
    (folder.parent / 'images/mscoco/images/train2014').mkdir(parents=True)
    (folder.parent / 'images/mscoco/images/train2014/5.jpg').touch()
    return folder.parent


def run(*arguments):
    return runpy.run_path(str(TOOL))['main']([str(argument) for argument in arguments])


def test_table(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(root, '--dataset', 'refcoco+', '--split-by', 'unc') == 0
    printed, errors = capsys.readouterr()
    assert [line.split() for line in printed.splitlines()] == [
        ['split', 'refs', 'sentences', 'images'],
        ['train', '1', '1', '1'],
        ['testA', '1', '1', '1'],
        ['wrote', 'data/refcoco+_unc'],
    ]
    assert not errors
    assert (tmp_path / 'data/refcoco+_unc/images/5.jpg').exists()
    assert run(root, '--dataset', 'refcoco+', '--split-by', 'unc') == 2
    assert '--overwrite' in capsys.readouterr().err
    assert run(root, '--dataset', 'refcoco+', '--split-by', 'unc', '--overwrite', '--images', 'nowhere') == 0
    assert capsys.readouterr().err.startswith('warning: nowhere: no such folder')


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ('damage', 'split_by', 'message'),
    [
        (lambda root: None, 'google', 'give --dataset and --split-by of one that is there: refcoco+/refs(unc).p'),
        (lambda root: (root / 'refcoco+/instances.json').unlink(), 'unc', 'instances.json: no such file'),
        (lambda root: cut(root / 'refcoco+/instances.json'), 'unc', 'instances.json: not whole JSON'),
        (lambda root: cut(root / 'refcoco+/refs(unc).p'), 'unc', 'refs(unc).p: not a whole pickle'),
        (
            lambda root: (root / 'refcoco+/refs(unc).p').write_bytes(b'cos\nsystem\n(Vexit 1\ntR.'),
            'unc',
            'refs(unc).p: refused: it names os.system',
        ),
    ],
)
def test_errors_are_one_line(damage, split_by, message, root, tmp_path, capsys):
    damage(root)
    assert run(root, '--dataset', 'refcoco+', '--split-by', split_by, '--out', tmp_path / 'out') == 2
    printed, errors = capsys.readouterr()
    assert not printed
    assert errors.startswith('error: ') and errors.count('\n') == 1
    assert message in errors
    assert [path.name for path in tmp_path.iterdir()] == ['refer']


def test_as_a_process(tmp_path):
    command = [sys.executable, str(TOOL), str(tmp_path), '--dataset', 'refcoco', '--split-by', 'unc']
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(TOOL.parents[2])},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 2
    assert result.stderr == (
        f'error: {tmp_path}/refcoco/refs(unc).p: no such file, nor any */refs(*).p in {tmp_path}: give the folder that '
        'holds the sets as ROOT\n'
    )
