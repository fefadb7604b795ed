"""Batches of several sizes: which, and that picture and mask stay together."""

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmmagnet.models import MultiSizePreProcessor
from mmmagnet.registry import MODELS

SIZES = (32, 48, 64)
NORMALISED = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True, size_divisor=1)


@pytest.fixture
def at(monkeypatch):
    """Let the Runner be at an iteration."""
    hub = MessageHub('sizes')
    monkeypatch.setattr(MessageHub, 'get_current_instance', classmethod(lambda cls: hub))
    return lambda iteration: hub.update_info('iter', iteration)


def batch():
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(50, 70)))
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(rng.integers(0, 2, (1, 64, 64), np.uint8)))
        samples.append(sample)
    inputs = [torch.from_numpy(rng.integers(0, 256, (3, 64, 64), np.uint8)) for _ in range(2)]
    return {'inputs': inputs, 'data_samples': samples}


def test_sizes_follow_seed_and_iteration(at):
    def sizes(seed, iterations):
        preprocessor = MultiSizePreProcessor(SIZES, seed=seed, **NORMALISED)
        found = []
        for iteration in iterations:
            at(iteration)
            found.append(preprocessor(batch(), training=True)['inputs'].shape[-1])
        return found

    whole = sizes(0, range(30))
    assert set(whole) == set(SIZES)
    assert sizes(0, range(20, 30)) == whole[20:]  # resumed
    assert sizes(1, range(30)) != whole


def test_picture_and_mask(at):
    at(0)
    preprocessor = MODELS.build(dict(type='MultiSizePreProcessor', sizes=(32,), **NORMALISED))
    given = batch()
    pictures, masks = given['inputs'], [sample.gt_sem_seg.data[0].numpy() for sample in given['data_samples']]
    data = preprocessor(given, training=True)
    assert data['inputs'].shape == (2, 3, 32, 32)
    mean, std = (torch.tensor(NORMALISED[key])[:, None, None] for key in ('mean', 'std'))
    for picture, mask, found, sample in zip(pictures, masks, data['inputs'], data['data_samples'], strict=True):
        squashed = Image.fromarray(picture.permute(1, 2, 0).numpy()[..., ::-1]).resize((32, 32), Image.BILINEAR)
        np.testing.assert_allclose((found * std + mean).permute(1, 2, 0), np.array(squashed), atol=1.01)
        expected = np.array(Image.fromarray(mask).resize((32, 32), Image.NEAREST))
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], expected)
        assert sample.gt_sem_seg.data.dtype == torch.uint8
        assert sample.img_shape == (32, 32) and sample.ori_shape == (50, 70)


def test_nothing_at_test_time_and_without_a_runner(at):
    preprocessor = MultiSizePreProcessor((32,), **NORMALISED)
    plain = MODELS.build(dict(type='SegDataPreProcessor', **NORMALISED))
    torch.testing.assert_close(preprocessor(batch())['inputs'], plain(batch())['inputs'])
    assert preprocessor(batch(), training=True)['inputs'].shape[-1] == 32
    for sizes in ((), (0,)):
        with pytest.raises(ValueError, match='sizes='):
            MultiSizePreProcessor(sizes)


def test_a_network_trains_at_every_size(at, tiny_config, tiny_batch):
    for size in (40, 48, 64):
        preprocessor = dict(type='MultiSizePreProcessor', sizes=(size,))
        network = MODELS.build({**tiny_config, 'data_preprocessor': preprocessor})
        inputs, samples = tiny_batch()
        data = network.data_preprocessor({'inputs': list(inputs), 'data_samples': samples}, training=True)
        assert data['inputs'].shape[-1] == size
        losses = network.loss(**data)
        assert all(torch.isfinite(value).all() for value in losses.values())
