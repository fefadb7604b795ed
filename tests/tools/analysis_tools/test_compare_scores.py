"""The comparison tool."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / 'tools' / 'analysis_tools' / 'compare_scores.py'


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('compare_scores', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def write_pairs(path, intersection, pairs=40):
    """Every pair alike: 50 true pixels, 50 predicted."""
    with path.open('w') as file:
        for index in range(pairs):
            pair = {'split': 'val', 'ref_id': index, 'sent_id': index, 'resolution': 'input', 'image': f'{index}.jpg'}
            pair |= {'intersection': intersection, 'union': 100 - intersection, 'predicted': 50, 'no_target': False}
            file.write(json.dumps({**pair, 'mask': {'size': [10, 10], 'counts': ''}}) + '\n')
    return str(path)


def test_compare(main, tmp_path, capsys):
    first, second = write_pairs(tmp_path / 'a.jsonl', 25), write_pairs(tmp_path / 'b.jsonl', 30)
    output = tmp_path / 'out' / 'difference.json'
    assert main([first, second, '--resamples', '100', '--json', str(output)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [
        f'A = {first}, B = {second}; differences are B - A, intervals 95 %',
        'val, input resolution: 40 pairs in 40 images',
        '  oIoU   A  33.33  B  42.86  B is higher by 9.52, interval 9.52 to 9.52, p = 0.0099: significant at 5 %',
    ]
    assert printed[4].endswith('A and B are equal, interval 0.00 to 0.00: no difference')
    content = json.loads(output.read_text())
    (comparison,) = content['comparisons']
    assert (content['first'], content['second'], content['resamples']) == (first, second, 100)
    assert (comparison['split'], comparison['pairs'], comparison['images']) == ('val', 40, 40)
    assert comparison['differences'][0]['significant'] is True
    assert comparison['differences'][0]['difference'] == pytest.approx(9.5238, abs=1e-4)


def test_errors_are_one_line(main, tmp_path, capsys):
    first = write_pairs(tmp_path / 'a.jsonl', 25)
    for second, message in (
        (str(tmp_path / 'none.jsonl'), f'error: {tmp_path / "none.jsonl"}: No such file'),
        (write_pairs(tmp_path / 'b.jsonl', 25, pairs=39), f'error: {tmp_path / "b.jsonl"}: lacks 1 of the 40 pairs'),
    ):
        assert main([first, second, '--json', str(tmp_path / 'no.json')]) == 2
        error = capsys.readouterr().err
        assert error.startswith(message)
        assert error.count('\n') == 1
    assert not (tmp_path / 'no.json').exists()
    with pytest.raises(SystemExit):
        main([first, first, '--resamples', '0'])
