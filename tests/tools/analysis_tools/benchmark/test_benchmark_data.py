"""A set in RefCOCO's proportions, and what is measured on it."""

import json
import runpy
from collections import Counter
from pathlib import Path

import pytest

from mmmagnet.datasets.verification.verify import verify_prepared

TOOLS = Path(__file__).parents[4] / 'tools' / 'analysis_tools' / 'benchmark'
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


def run(name, *arguments):
    return runpy.run_path(str(TOOLS / f'{name}.py'))['main'](list(map(str, arguments)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets') / 'full'
    assert run('full_size_set', folder, '--refs', 200, '--images') == 0
    return folder


def test_proportions(folder):
    report = verify_prepared(folder, tokenizer=TOKENIZER)
    assert not report.of('error')
    assert {split: counts[0] for split, counts in report.counts.items()} == {
        'train': 171,
        'val': 15,
        'testA': 7,
        'testB': 7,
    }
    assert sum(counts[1] for counts in report.counts.values()) == 568
    content = json.loads((folder / 'instances.json').read_text())
    assert (len(content['images']), len(content['annotations'])) == (79, 787)
    lines = [json.loads(line) for line in (folder / 'refs.jsonl').read_text().splitlines()]
    assert set(Counter(len(ref['sentences']) for ref in lines)) == {2, 3}


def test_copies(folder, tmp_path, capsys):
    """Three times the set, with ids of their own, and what is measured on it."""
    assert run('full_size_set', tmp_path / 'set', '--refs', 200, '--copies', 3) == 0
    report = verify_prepared(tmp_path / 'set', images=False, tokenizer=TOKENIZER)
    assert not report.of('error')
    assert sum(counts[0] for counts in report.counts.values()) == 600
    content = json.loads((tmp_path / 'set' / 'instances.json').read_text())
    assert len({ann['id'] for ann in content['annotations']}) == 3 * 787
    assert run('benchmark_index', tmp_path / 'set', '--items', 9) == 0
    printed = capsys.readouterr().out
    assert 'start with 513 items' in printed and 'shares with no other' in printed


def test_an_existing_folder_is_left(folder, capsys):
    assert run('full_size_set', folder, '--refs', 20) == 2
    assert '--out' in capsys.readouterr().err


def test_benchmark(folder, capsys):
    arguments = ['--config', TOOLS.parents[2] / 'configs' / 'magnet_swin_b.py', '--items', 2, '--tokenizer', TOKENIZER]
    assert run('benchmark_data', folder, *arguments) == 0
    printed = capsys.readouterr().out
    for text in (
        'verification of 568',
        'per second on one core',
        'Resize',
    ):
        assert text in printed
    (share,) = [sum(float(line.split()[-1][:-1]) for line in printed.splitlines() if line.endswith('%'))]
    assert 95 < share < 105
