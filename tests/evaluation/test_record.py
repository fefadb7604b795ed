"""The record of an evaluation."""

import mmmagnet
from mmmagnet.evaluation.record import score_record

REPORT = {'input': {'protocol': 'p', 'scores': {'oIoU': 100 / 3, 'pairs': 8}, 'intervals': {'oIoU': (1 / 3, 2.0)}}}


def record(report):
    return score_record('c.py', 'w.pth', 'ab12', 'val', False, {'ref/oIoU': 100 / 3}, report, {'text': 'raw'})


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
        'protocol': {'text': 'raw'},
        'swap_expressions': False,
        'mmmagnet': mmmagnet.__version__,
    }


def test_record_of_another_metric():
    found = record({})
    assert (found['pairs'], found['resolution'], found['resolutions']) == (None, 'unknown', {})
