"""The table of scores."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[3] / 'tools' / 'analysis_tools' / 'score_table.py'


@pytest.fixture(scope='module')
def main():
    spec = importlib.util.spec_from_file_location('score_table', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def entry(split, swapped=False, **resolutions):
    scored = {resolution: {'scores': scores} for resolution, scores in resolutions.items()}
    return {'split': split, 'swap_expressions': swapped, 'resolutions': scored}


def test_table(main, tmp_path, capsys):
    scores = entry('val', input={'oIoU': 71.254, 'P@0.5': 80.0, 'pairs': 1200, 'P@0.6': 1.0}, original={'oIoU': 70.0})
    (tmp_path / 'a.json').write_text(json.dumps({'val': scores}))
    (tmp_path / 'b.json').write_text(json.dumps({'val': entry('val', True, input={'oIoU': 9.0})}))
    assert main([str(tmp_path / 'a.json'), str(tmp_path / 'b.json')]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '| split                    | resolution |  oIoU | mIoU | P@0.5 | P@0.7 | P@0.9 | pairs |',
        '|--------------------------|------------|------:|-----:|------:|------:|------:|------:|',
        '| val                      | input      | 71.25 |    - | 80.00 |     - |     - |  1200 |',
        '| val                      | original   | 70.00 |    - |     - |     - |     - |     - |',
        '| val, swapped expressions | input      |  9.00 |    - |     - |     - |     - |     - |',
    ]


def test_a_set_with_expressions_without_a_target(main, tmp_path, capsys):
    (tmp_path / 'a.json').write_text(
        json.dumps({'val': entry('val', input={'oIoU': 71.2, 'gIoU': 60.0, 'N-acc': 50.0})})
    )
    assert main([str(tmp_path / 'a.json')]) == 0
    assert capsys.readouterr().out.splitlines() == [
        '| split | resolution |  oIoU | mIoU | P@0.5 | P@0.7 | P@0.9 |  gIoU | N-acc | pairs |',
        '|-------|------------|------:|-----:|------:|------:|------:|------:|------:|------:|',
        '| val   | input      | 71.20 |    - |     - |     - |     - | 60.00 | 50.00 |     - |',
    ]


@pytest.mark.parametrize('content', ['', '[]', '{"val": 1}', '{"val": {"split": "val"}}', None])
def test_errors_name_the_file(main, tmp_path, capsys, content):
    path = tmp_path / 'scores.json'
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.startswith(f'error: {path}: ')
