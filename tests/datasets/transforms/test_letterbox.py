"""The letterbox is that of CRIS and DETRIS, to the pixel of the OpenCV in use."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmmagnet.datasets.transforms import Letterbox
from mmmagnet.utils.letterbox import letterbox_matrices

DATA = Path(__file__).parents[2] / 'data' / 'official_parity_cris'
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


@pytest.mark.parametrize('name', CASES)
def test_matrices(name, expected):
    case = CASES[name]
    size = case['input_size']
    for matrix, field in zip(
        letterbox_matrices(case['height'], case['width'], size), ('matrix', 'inverse'), strict=True
    ):
        assert np.abs(matrix - expected[f'{name}.{field}']).max() <= 1e-6 * size


@pytest.mark.parametrize('name', CASES)
def test_image_and_target(name, definition, expected):
    case = CASES[name]
    image, mask, _ = definition.letterbox_inputs(case)
    results = dict(img=image[..., ::-1], gt_seg_map=mask // 255, seg_fields=['gt_seg_map'])
    results = Letterbox(case['input_size'])(results)
    assert results['letterbox'] == case['input_size']
    assert results['img_shape'] == (case['input_size'],) * 2 == results['img'].shape[:2]
    assert np.abs(results['img'][..., ::-1] - expected[f'{name}.image']).max() <= 1
    target = results['gt_seg_map']
    assert target.dtype == np.float32
    assert ((target > 0) & (target < 1)).any()  # soft edges
    assert np.abs(target - expected[f'{name}.target']).max() <= 1 / 255 + 1e-6


def test_border_is_the_mean():
    image = Letterbox(64)(dict(img=np.full((32, 64, 3), 255, np.uint8)))['img']
    assert image[0, 0].tolist() == [104, 117, 123]  # BGR
    assert image[32, 32].tolist() == [255, 255, 255]
