"""Networks as files: ONNX and `torch.export` agree with PyTorch, and run without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmmagnet.apis import ReferringInferencer
from mmmagnet.apis import export as exporting
from mmmagnet.registry import MODELS

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / 'tests/docs'), str(ROOT / 'tools')]

from blocks import block_with  # noqa: E402
from export import main  # noqa: E402
from networks import VOCABULARY, build_small  # noqa: E402

for package in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(package)

NETWORKS = [  # and MagNet below, by the command
    'lavt_swin_b.py',
    'rela/rela_swin_b_grefcoco.py',
    'caris/caris_swin_b_refcoco.py',
    'cris/cris_r101_refcoco.py',
    'detris/detris_vitb_refcoco.py',
]
TEXTS = ['the red circle', 'the blue square on the left', 'triangle']


@pytest.mark.parametrize('name', NETWORKS)
def test_network(name, tmp_path):
    """Other numbers of images and words than those traced, and one image alone."""
    torch.manual_seed(0)
    model = build_small(name).eval()
    for weight in model.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.05)  # gates that start shut
    network = exporting.ExportableSegmentor(model)
    cases = [exporting.example_inputs((64, 64), batch, words, VOCABULARY) for batch, words in ((2, 12), (1, 5), (3, 9))]
    expected = [exporting.run_eager(network)(case) for case in cases]
    program = exporting.trace(network, cases[0])
    exporting.save_program(program, tmp_path / 'network.pt2', {})
    exporting.save_onnx(program, tmp_path / 'network.onnx', {}, ['logits', 'target_score'][: len(expected[0])])
    for run in (exporting.run_program(tmp_path / 'network.pt2'), exporting.run_onnx(tmp_path / 'network.onnx')):
        for case, outputs in zip(cases, expected, strict=True):
            assert exporting.largest_error(outputs, run(case)) < 1e-4
    assert np.abs(expected[0][0][0] - expected[0][0][1]).max() > 1e-3  # the samples are not alike


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A config, a checkpoint and an image."""
    folder = tmp_path_factory.mktemp('export')
    config = Config.fromfile(str(ROOT / 'configs/magnet_tiny_synthetic.py'))
    config.merge_from_dict({
        'model.backbone.embed_dims': 16,
        'model.backbone.depths': (1, 2, 1, 1),
        'model.backbone.num_heads': (1, 1, 1, 1),
        'model.decode_head.pixel_decoder_layers': 1,
        'model.decode_head.decoder_layers': 1,
    })  # fmt: skip
    config.dump(folder / 'config.py')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    torch.save({'state_dict': MODELS.build(config.model).state_dict()}, folder / 'epoch_3.pth')
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / 'image.png')
    return folder


def export(folder, out, *options):
    return main([str(folder / 'config.py'), str(folder / 'epoch_3.pth'), '--out', str(folder / out), *options])


@pytest.fixture(scope='module')
def onnx_file(folder):
    assert export(folder, 'tiny.onnx', '--format', 'onnx') == 0
    return folder / 'tiny.onnx'


def test_command(folder, onnx_file, capsys):
    assert export(folder, 'tiny.pt2', '--format', 'torch') == 0
    printed = capsys.readouterr().out
    assert 'images x words: 2 x 20, 1 x 5, 3 x 9' in printed
    assert {path.name for path in folder.iterdir()} >= {'tiny.onnx', 'tiny.pt2'}
    assert not [path for path in folder.iterdir() if path.name.startswith('.')]


def test_runner_of_the_docs(folder, onnx_file):
    """Its masks are the inferencer's, and PyTorch cannot be imported meanwhile."""
    (folder / 'segment.py').write_text(block_with('docs/export.md', 'import onnxruntime'))
    start = "import sys, runpy; sys.modules['torch'] = None; runpy.run_path('segment.py', run_name='__main__')"
    command = [sys.executable, '-c', start, onnx_file.name, 'image.png', *TEXTS]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    inferencer = ReferringInferencer(folder / 'config.py', folder / 'epoch_3.pth', 'cpu')
    for index, expected in enumerate(inferencer(folder / 'image.png', TEXTS)):
        mask = np.asarray(Image.open(folder / f'mask_{index}.png'))
        assert mask.shape == expected.mask.shape
        assert (mask.astype(bool) != expected.mask).mean() < 0.002


def test_program_of_the_docs(folder, monkeypatch):
    if not (folder / 'tiny.pt2').exists():
        assert export(folder, 'tiny.pt2', '--format', 'torch') == 0
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(block_with('docs/export.md', 'extra_files'), names)
    assert names['facts'].keys() == {'max_words', 'threshold', 'target_threshold', 'tokenizer', 'size', 'letterbox'}
    inputs = exporting.example_inputs((64, 64), 1, 4, VOCABULARY)
    assert names['network'](**inputs)[0].shape == (1, 64, 64)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_fewer_bits(onnx_file, precision, tmp_path):
    path = tmp_path / 'small.onnx'
    exporting.reduce_precision(onnx_file, path, precision)
    assert path.stat().st_size < 0.8 * onnx_file.stat().st_size
    import onnxruntime

    facts = [onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map for file in (onnx_file, path)]
    assert facts[0] == facts[1]
    assert json.loads(facts[1]['mmmagnet'])['size'] == [64, 64]
    case = exporting.example_inputs((64, 64), 2, 6, VOCABULARY)
    error = exporting.largest_error(exporting.run_onnx(onnx_file)(case), exporting.run_onnx(path)(case))
    assert 1e-7 < error < 0.2


def test_a_wrong_file_is_not_kept(folder, monkeypatch, capsys):
    monkeypatch.setattr(
        exporting, 'run_program', lambda path: lambda inputs: [np.zeros((len(inputs['image']), 64, 64))]
    )
    assert export(folder, 'wrong.pt2', '--format', 'torch') == 2
    assert 'differs from PyTorch by 1.0e+00' in capsys.readouterr().err
    assert not [path for path in folder.iterdir() if 'wrong' in path.name]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--format', 'torch', '--precision', 'int8'], 'is for ONNX'),
        (['--format', 'onnx', '--precision', 'fp16'], 'needs --image and --text'),
        (['--format', 'onnx', '--text', 'x'], 'go together'),
    ],
)
def test_wrong_options(folder, options, message, capsys):
    with pytest.raises(SystemExit):
        export(folder, 'none.onnx', *options)
    assert message in capsys.readouterr().err
