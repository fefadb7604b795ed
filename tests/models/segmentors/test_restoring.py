"""Letterboxed predictions go back to the image as CRIS's do."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.structures import SegDataSample

from mmmagnet.evaluation import ReferringSegMetric
from mmmagnet.models.segmentors.restoring import restore_letterboxed, upsample
from mmmagnet.models.structures import Decoded, Features
from mmmagnet.registry import MODELS
from mmmagnet.utils.config import load_config
from mmmagnet.utils.errors import DataError

ROOT = Path(__file__).parents[3]
DATA = ROOT / 'tests' / 'data' / 'official_parity_cris'
CASES = json.loads((DATA / 'letterbox.json').read_text())


@pytest.fixture(scope='module')
def definition():
    spec = importlib.util.spec_from_file_location('cris_fill', DATA / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def expected():
    with np.load(DATA / f'expected_letterbox_opencv{cv2.__version__[0]}.npz') as stored:
        return dict(stored)


@pytest.fixture
def model():
    """A tiny network with CRIS's head, whose parts are never run."""
    config = load_config(str(ROOT / 'configs/lavt_tiny_synthetic.py')).model
    head = dict(type='CRISHead', sentence_channels=8, num_layers=1, num_heads=4, ffn_width=16)
    init_default_scope('mmseg')
    return MODELS.build({**config, 'decode_head': head}).eval()


@pytest.mark.parametrize('name', CASES)
def test_restored(name, definition, expected):
    case = CASES[name]
    logits = torch.from_numpy(definition.letterbox_inputs(case)[2])[None]
    square, size = case['input_size'], (case['height'], case['width'])
    whole = upsample(logits.sigmoid(), square)[0].numpy()
    assert np.abs(whole - expected[f'{name}.upsampled']).max() <= 1e-5
    restored = restore_letterboxed(logits, square, size)[0].numpy()
    assert np.abs(restored - expected[f'{name}.restored']).max() <= 1e-5
    # a bilinear resize, or one of logits, is another mask
    assert np.abs(upsample(logits, square).sigmoid()[0].numpy() - expected[f'{name}.upsampled']).max() > 1e-2


@pytest.mark.parametrize('name', CASES)
def test_predict(name, definition, expected, model, monkeypatch):
    """`predict` finds the letterbox in the sample, applies the head's threshold, and keeps the logits' size."""
    case = CASES[name]
    _, mask, logits = definition.letterbox_inputs(case)
    square, size = case['input_size'], (case['height'], case['width'])
    decoded = Decoded(logits=torch.from_numpy(logits)[None, None], mask_features=torch.zeros(1, 1, 1, 1))
    features = Features.of_maps([torch.zeros(1, 1, 1, 1)])
    monkeypatch.setattr(model, '_features_of', lambda inputs, samples: features)
    monkeypatch.setattr(model.decode_head, 'forward', lambda features: decoded)
    sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=(square, square), letterbox=square, sample_idx=0))
    (sample,) = model.predict(torch.zeros(1, 3, square, square), [sample])
    assert sample.seg_logits.data.shape == (1, square, square)
    predicted, restored = sample.pred_sem_seg.data[0].numpy(), expected[f'{name}.restored']
    sure = np.abs(restored - 0.35) > 1e-5
    np.testing.assert_array_equal(predicted[sure], expected[f'{name}.prediction'][sure])
    intersection, union = expected[f'{name}.counts']
    assert abs((predicted & (mask > 0)).sum() - intersection) <= (~sure).sum()
    assert abs((predicted | (mask > 0)).sum() - union) <= (~sure).sum()


def test_no_score_of_a_letterbox_at_input_resolution():
    sample = {
        'gt_sem_seg': {'data': torch.ones(1, 4, 6)},
        'seg_logits': {'data': torch.ones(1, 8, 8)},
        'pred_sem_seg': {'data': torch.ones(1, 4, 6)},
        'letterbox': 8,
        'sample_idx': 0,
        'img_path': '7.jpg',
    }
    with pytest.raises(DataError, match=r"7\.jpg: is letterboxed.*resolution='original'"):
        ReferringSegMetric(resolution='input').process(None, [sample])
    metric = ReferringSegMetric(resolution='original')
    metric.process(None, [sample])
    assert metric.evaluate(1)['ref/oIoU'] == 100
    assert 'warped back from the letterbox' in metric.report['original']['protocol']
