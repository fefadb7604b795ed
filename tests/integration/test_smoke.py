"""The quickstart's smoke run with the real tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_smoke(tmp_path):
    python = tmp_path / 'env' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, 'MMMAGNET_VENV': 'env', 'PYTHON': 'no-such-python', 'PYTHONPATH': ''}
    command = ['bash', ROOT / 'tools/quickstart.sh', '--smoke', '--device', 'cpu', '--work-dir', 'work']
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    work = tmp_path / 'work'
    scores = {split: entry['metrics'] for split, entry in json.loads((work / 'scores.json').read_text()).items()}
    assert list(scores) == ['val', 'testA', 'testB']
    assert all(0 <= metrics['ref/oIoU'] <= 100 and metrics['ref/pairs'] > 0 for metrics in scores.values())
    assert json.loads((work / 'scores_swapped.json').read_text())['val']['swap_expressions'] is True
    *_, checkpoint, log, images, following = result.stdout.splitlines()
    for line, name in ((checkpoint, 'checkpoint'), (log, 'log'), (images, 'images')):
        assert line.split()[0] == name
        assert (tmp_path / line.split()[1]).exists()
    assert list((work / 'images').rglob('*.png'))
    infer = following.removeprefix('try next    ')
    tried = subprocess.run(['sh', '-c', infer], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert tried.returncode == 0, tried.stderr
    assert len(list((tmp_path / 'outputs').glob('*.png'))) == 2
