"""Shell and Python blocks without a comment run, page by page, on a small set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import PAGES, ROOT, block_with, blocks_of

pytestmark = pytest.mark.slow

TRAIN = 'python tools/train.py configs/magnet_tiny_synthetic.py --work-dir work_dirs/tiny\n'
FEW = '--train 24 --val 6 --testA 4 --testB 4'
OWN = ROOT / 'docs/custom_data.md'
RUN = [
    page
    for page in PAGES
    if page != OWN and any(block.runs and block.language in ('bash', 'python') for block in blocks_of(page))
]


def run(code: str, language: str, folder: Path) -> None:
    """Run a block as a user in the project's folder would, on fewer images."""
    code = code.replace('--level easy', f'--level easy {FEW}')
    shell = ['bash', '-euo', 'pipefail', '-c'] if language == 'bash' else [sys.executable, '-c']
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    environment = {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), 'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1'}
    environment |= {'CUDA_VISIBLE_DEVICES': '', 'OMP_WAIT_POLICY': 'passive'}
    result = subprocess.run(
        [*shell, code], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder like the project's, with a small data set and the checkpoint that the docs name."""
    folder = tmp_path_factory.mktemp('project')
    for name in ('configs', 'tools', 'tests', 'mmmagnet'):
        (folder / name).symlink_to(ROOT / name)
    for line in block_with('docs/get_started.md', 'synthetic.py --level').splitlines()[:2]:
        run(line, 'bash', folder)
    return folder


@pytest.mark.parametrize('page', RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_run(page, project):
    for block in blocks_of(page):
        if block.runs and block.language in ('bash', 'python'):
            run(block.code.replace(TRAIN, ''), block.language, project)  # the fixture has trained


def test_own_data_is_learned(project):
    """docs/custom_data.md: its commands in order, and images that are learned by heart."""
    for block in blocks_of(OWN):
        if block.runs and block.language in ('bash', 'python'):
            run(block.code, block.language, project)
    scores = json.loads((project / 'outputs/mine/scores.json').read_text())
    assert (scores['train']['pairs'], scores['val']['pairs']) == (144, 33)
    assert scores['train']['metrics']['ref/oIoU'] > 60
    assert list((project / 'outputs/mine/masks').rglob('*.png')) and list((project / 'outputs/mine').glob('*_mask.png'))


def test_own_segmentor(project):
    """docs/mask_grounding.md: its two files, and the commands that train and score them."""
    page = 'docs/mask_grounding.md'
    (project / 'my_segmentor.py').write_text(block_with(page, 'class MySegmentor'))
    (project / 'my_config.py').write_text(block_with(page, "type='MySegmentor'"))
    code = block_with(page, 'python tools/train.py my_config.py')
    run(code.replace('export PYTHONPATH=.', f'export PYTHONPATH=.:{ROOT}'), 'bash', project)
    assert (project / 'work_dirs/my_config/epoch_3.pth').is_file()
