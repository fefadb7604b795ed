"""The contact sheet takes pairs from all over a split, and refuses those of another folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmmagnet.datasets.synthetic import default_set, generate_set

TOOL = Path(__file__).parents[3] / 'tools' / 'analysis_tools' / 'contact_sheet.py'
spec = importlib.util.spec_from_file_location('contact_sheet_tool', TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('contact') / 'data'
    generate_set(default_set('easy', counts={'train': 1, 'val': 3, 'testA': 1, 'testB': 1}), folder, workers=1)
    return folder


def pairs_of(data: Path, path: Path, **changed: object) -> Path:
    """What tools/test.py --out writes for val, with an empty mask for each pair."""
    refs = [json.loads(line) for line in (data / 'refs.jsonl').read_text().splitlines()]
    names = {image['id']: image['file_name'] for image in json.loads((data / 'instances.json').read_text())['images']}
    empty = coco_mask.encode(np.asfortranarray(np.zeros((64, 64), np.uint8)))
    lines = []
    for ref in (ref for ref in refs if ref['split'] == 'val'):
        for sentence in ref['sentences']:
            pair = {'sample_idx': len(lines), 'resolution': 'input', 'split': 'val', 'ref_id': ref['ref_id']}
            pair |= {'image': str(data / 'images' / names[ref['image_id']]), 'expression': sentence['raw']}
            lines.append(pair | {'mask': {'size': [64, 64], 'counts': empty['counts'].decode()}} | changed)
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_pairs_are_spread_over_the_file(data, tmp_path):
    path = pairs_of(data, tmp_path / 'pairs.jsonl')
    total = len(path.read_text().splitlines())
    assert [pair['sample_idx'] for pair in tool.read_pairs(path, 2)] == [0, total // 2]
    assert len(tool.read_pairs(path, 10**6)) == total


@pytest.mark.parametrize(
    ('changed', 'number', 'error'),
    [({}, 3, None), ({'ref_id': -1}, 3, 'give the scored folder'), ({'image': 'x.png'}, 3, 'give the scored folder')],
)
def test_sheet(data, tmp_path, changed, number, error, capsys):
    pairs = pairs_of(data, tmp_path / 'pairs.jsonl', **changed)
    out = tmp_path / 'new' / 'sheet.png'
    status = tool.main([str(pairs), '--data-root', str(data), '--out', str(out), '--number', str(number)])
    if error is None:
        assert status == 0
        assert Image.open(out).width == 2 * (2 * 320 + 8) + 32
    else:
        assert status != 0
        assert error in capsys.readouterr().err
        assert not out.exists()


@pytest.mark.parametrize('text', ['', '{}\n', 'no json\n'])
def test_files_of_something_else_are_refused(text, tmp_path, data, capsys):
    path = tmp_path / 'pairs.jsonl'
    path.write_text(text)
    assert tool.main([str(path), '--data-root', str(data), '--out', str(tmp_path / 'sheet.png')]) != 0
    assert 'pairs' in capsys.readouterr().err
