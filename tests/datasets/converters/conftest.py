"""Small sets in folders."""

from __future__ import annotations

import json

import pytest
from layouts import HEIGHT, WIDTH, instances
from PIL import Image


@pytest.fixture
def grefs(tmp_path):
    """gRefCOCO: an expression for two objects, one for one, one for none."""
    told = [([10, 11], [3, 3]), ([12], 3), ([-1], [-1]), (-1, -1)]
    records = [
        {
            'ref_id': number,
            'ann_id': ann_ids,
            'category_id': categories,
            'image_id': 2 if ann_ids == [12] else 1,
            'split': 'train',
            'no_target': ann_ids in (-1, [-1]),
            'sentences': [{'raw': f'what {number}', 'sent_id': number}],
        }
        for number, (ann_ids, categories) in enumerate(told)
    ]
    folder = tmp_path / 'root' / 'grefcoco'
    folder.mkdir(parents=True)
    (folder / 'grefs(unc).json').write_text(json.dumps(records))
    (folder / 'instances.json').write_text(json.dumps(instances()))
    return tmp_path / 'root'


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'photographs'
    folder.mkdir()
    for number in range(5):
        Image.new('RGB', (WIDTH, HEIGHT)).save(folder / f'{number}.png')
    return folder
