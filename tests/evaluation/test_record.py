"""What is kept of a scoring."""

import hashlib
import json

import pytest

import mmmagnet
from mmmagnet.evaluation.record import file_sha256, score_record, write_json

REPORT = {'input': {'protocol': 'p', 'scores': {'oIoU': 100 / 3, 'pairs': 8}, 'intervals': {'oIoU': (1 / 3, 2.0)}}}


def record(report):
    return score_record('c.py', 'w.pth', 'ab12', 'val', False, {'ref/oIoU': 100 / 3}, report)


def test_record():
    found = record(REPORT)
    assert found.pop('date').startswith('20')
    assert found == {
        'metrics': {'ref/oIoU': 33.3333},
        'config': 'c.py',
        'checkpoint': 'w.pth',
        'checkpoint_sha256': 'ab12',
        'split': 'val',
        'pairs': 8,
        'resolution': 'input',
        'resolutions': {
            'input': {'protocol': 'p', 'scores': {'oIoU': 33.3333, 'pairs': 8}, 'intervals': {'oIoU': [0.3333, 2.0]}}
        },
        'swap_expressions': False,
        'mmmagnet': mmmagnet.__version__,
    }


def test_record_of_another_metric():
    found = record({})
    assert (found['pairs'], found['resolution'], found['resolutions']) == (None, 'unknown', {})


def test_sha256(tmp_path):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'weights' * 400_000)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'new' / 'scores.json'
    write_json(path, {'a': 1})
    with pytest.raises(TypeError):
        write_json(path, {'a': object()})
    assert json.loads(path.read_text()) == {'a': 1}
    assert [each.name for each in path.parent.iterdir()] == ['scores.json']
