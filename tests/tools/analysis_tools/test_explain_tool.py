"""A figure for each part that a network has; a line for each that it lacks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image
from trained import small_settings

from mmmagnet.registry import MODELS

ROOT = Path(__file__).parents[3]
spec = importlib.util.spec_from_file_location('explain_tool', ROOT / 'tools/analysis_tools/explain.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

BARE = {'decode_head': dict(type='LAVTHead'), 'neck': dict(type='FiLMFusion'), 'auxiliary_head': None}


@pytest.fixture
def explain(tmp_path):
    """Run the tool on a new checkpoint; returns its exit status and the files that it wrote."""

    def run(parts, *options, kept=''):
        config = small_settings()
        for name, part in parts.items():
            config.model[name] = part
        init_default_scope('mmseg')
        torch.manual_seed(0)
        weights = MODELS.build(config.model).state_dict()
        weights = {name: value for name, value in weights.items() if not kept or name.startswith(kept)}
        torch.save({'meta': {'cfg': config.pretty_text}, 'state_dict': weights}, tmp_path / 'epoch_1.pth')
        Image.fromarray(np.full((40, 70, 3), 90, np.uint8)).save(tmp_path / 'a [1].png')
        out = tmp_path / 'out'
        command = [str(tmp_path / 'a [1].png'), '--text', 'the red circle', '--device', 'cpu', '--out-dir', str(out)]
        status = tool.main([*command, '--checkpoint', str(tmp_path / 'epoch_1.pth'), *options])
        return status, sorted(path.name for path in out.glob('*'))

    return run


def test_all_figures(explain, tmp_path):
    mask = np.zeros((40, 70), np.uint8)
    mask[5:20, 5:20] = 255
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    status, names = explain({}, '--format', 'svg', '--mask', str(tmp_path / 'mask.png'))
    assert (status, names) == (0, [f'a [1]_{name}.svg' for name in ('attention', 'guesses', 'predictions')])


@pytest.mark.parametrize(
    ('parts', 'kept', 'names', 'missing'),
    [
        (BARE, '', [], ['FiLMFusion has no attention', 'LAVTHead predicts once', 'no trained MaskGroundingHead']),
        (
            {},
            ('backbone', 'text_encoder', 'neck', 'decode_head'),
            ['a [1]_attention.png', 'a [1]_predictions.png'],
            ['no trained MaskGroundingHead'],
        ),
    ],
)
def test_missing_parts(explain, parts, kept, names, missing, capsys):
    assert explain(parts, kept=kept) == (0, names)
    printed = capsys.readouterr().out
    assert [text for text in missing if text not in printed] == []


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--mask', 'small.png'], 'small.png: has 8 x 8 pixels, the image 70 x 40'),
        (['--mask', 'no image.png'], 'error: --mask no image.png: cannot be read as an image ('),
        (['--mask', 'none.png'], 'error: --mask none.png: cannot be read as an image ('),
        (['--text', ''], 'error: --text is empty: say what to segment'),
    ],
)
def test_what_cannot_be_explained(explain, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    Image.new('L', (8, 8), 1).save('small.png')
    Path('no image.png').write_bytes(b'no image')
    assert explain({}, *options) == (2, [])
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error
