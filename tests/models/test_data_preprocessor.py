"""Words behind the longest expression change nothing; batches of several sizes: image and mask stay together."""

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from mmmagnet.models import MultiSizePreProcessor, ReferringPreProcessor
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


def test_image_and_mask(at):
    at(0)
    preprocessor = MODELS.build(dict(type='MultiSizePreProcessor', sizes=(32,), **NORMALISED))
    given = batch()
    images, masks = given['inputs'], [sample.gt_sem_seg.data[0].numpy() for sample in given['data_samples']]
    data = preprocessor(given, training=True)
    assert data['inputs'].shape == (2, 3, 32, 32)
    mean, std = (torch.tensor(NORMALISED[key])[:, None, None] for key in ('mean', 'std'))
    for image, mask, found, sample in zip(images, masks, data['inputs'], data['data_samples'], strict=True):
        squashed = Image.fromarray(image.permute(1, 2, 0).numpy()[..., ::-1]).resize((32, 32), Image.BILINEAR)
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


def through(preprocessor, tiny_batch, training):
    inputs, samples = tiny_batch(length=20)  # 5 and 6 of them real
    given = {'inputs': list(inputs), 'data_samples': samples}
    data = preprocessor(given, training=training)
    assert all(len(sample.input_ids) == 20 for sample in given['data_samples'])  # the dataset's own are left alone
    return data


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('kind', ['ReferringPreProcessor', 'MultiSizePreProcessor'])
@pytest.mark.parametrize(
    ('trim_words', 'divisor', 'length'), [(True, 1, 6), (True, 3, 6), (True, 4, 8), (True, 32, 20), (False, 4, 20)]
)
def test_length_of_words(trim_words, divisor, length, kind, training, at, tiny_batch):
    at(0)
    sizes = dict(sizes=(64,)) if kind == 'MultiSizePreProcessor' else {}
    preprocessor = MODELS.build(dict(type=kind, trim_words=trim_words, words_divisor=divisor, **sizes))
    data = through(preprocessor, tiny_batch, training)
    for sample, whole in zip(data['data_samples'], tiny_batch(length=20)[1], strict=True):
        assert sample.input_ids.equal(whole.input_ids[:length])
        assert sample.word_mask.equal(whole.word_mask[:length])
        assert sample.gt_sem_seg.data.equal(whole.gt_sem_seg.data)


def test_a_divisor_of_words_is_at_least_one():
    with pytest.raises(ValueError, match='words_divisor=0'):
        ReferringPreProcessor(words_divisor=0)


@pytest.mark.parametrize('samples', ['without words', 'one without', 'no real words', 'none'])
def test_nothing_to_go_by(samples, tiny_batch):
    inputs, given = tiny_batch(length=20)
    for sample in given[: {'without words': 2, 'one without': 1}.get(samples, 0)]:
        del sample.word_mask
    if samples == 'no real words':
        for sample in given:
            sample.word_mask.zero_()
    data = {'inputs': list(inputs), 'data_samples': None if samples == 'none' else given}
    found = ReferringPreProcessor()(data)['data_samples']
    assert found is None or all(len(sample.input_ids) == 20 for sample in found)


@pytest.mark.parametrize('mode', [False, True])
def test_trimmed_words_change_no_loss_and_no_mask(mode, tiny_config, tiny_batch):
    tiny_config['auxiliary_head'][0].update(
        mask_prob=1.0, unmasked_prob=0.0, extra_masked_pass=mode
    )  # whatever is drawn
    losses, masks = [], []
    for trim_words in (True, False):
        torch.manual_seed(0)
        model = MODELS.build(
            {**tiny_config, 'data_preprocessor': dict(type='ReferringPreProcessor', trim_words=trim_words)}
        )
        for fusion in model.neck.stages:  # open the text gates, which start shut
            torch.nn.init.normal_(fusion.text_gate.outer.weight)
        losses.append(model.train().loss(**through(model.data_preprocessor, tiny_batch, True)))
        with torch.no_grad():
            data = through(model.data_preprocessor, tiny_batch, False)
            masks.append(model.eval().encode_decode(data['inputs'], data['data_samples']))
    for name, expected in losses[1].items():
        torch.testing.assert_close(losses[0][name], expected, rtol=1e-4, atol=1e-4, msg=name)
    torch.testing.assert_close(masks[0], masks[1], rtol=1e-4, atol=1e-4 * masks[1].abs().max().item())


def test_a_neck_that_reads_pads_is_given_them(tiny_config, tiny_batch):
    tiny_config['neck']['official_compat'] = True
    preprocessor = dict(type='ReferringPreProcessor')
    with pytest.raises(ValueError, match=r'neck reads padded words: set model\.data_preprocessor\.trim_words=False'):
        MODELS.build({**tiny_config, 'data_preprocessor': preprocessor})
    model = MODELS.build({**tiny_config, 'data_preprocessor': {**preprocessor, 'trim_words': False}})
    data = through(model.data_preprocessor, tiny_batch, True)
    assert all(len(sample.input_ids) == 20 for sample in data['data_samples'])


def test_a_batch_goes_to_the_device_without_waiting(monkeypatch):
    asked = []
    for kind in (torch.Tensor, SegDataSample):
        monkeypatch.setattr(kind, 'to', lambda self, *_, **named: asked.append(named) or self)
    ReferringPreProcessor(**NORMALISED).cast_data(batch())
    assert len(asked) == 4 and all(named['non_blocking'] for named in asked)


PADDED = dict(size=(80, 96), pad_val=7, seg_pad_val=1)


@pytest.mark.parametrize('divisor', [dict(), dict(size_divisor=1), dict(size_divisor=None)])
@pytest.mark.parametrize('kind', ['ReferringPreProcessor', 'MultiSizePreProcessor'])
def test_padding_as_mmseg_names_it(kind, divisor, at):
    at(0)
    sizes = dict(sizes=(40,)) if kind == 'MultiSizePreProcessor' else {}
    preprocessor = MODELS.build({'type': kind, **NORMALISED, **PADDED, **sizes, 'size_divisor': 1, **divisor})
    data = preprocessor(batch(), training=True)
    mask = data['data_samples'][0].gt_sem_seg.data
    if sizes:
        assert data['inputs'].shape[2:] == mask.shape[1:] == (40, 40)
        return
    assert data['inputs'].shape == (2, 3, 80, 96)
    assert (data['inputs'][..., 64:] == 7).all() and (mask[..., 64:] == 1).all()
    with pytest.raises(ValueError, match='size_divisor=32: give one of them'):
        MODELS.build({'type': kind, **sizes, **PADDED, 'size_divisor': 32})


@pytest.mark.parametrize('kind', ['ReferringPreProcessor', 'SegDataPreProcessor'])
def test_padding_when_testing_is_left_out_of_masks(kind, tiny_config, tiny_batch):
    """The same image, padded to a multiple of 64 or by hand, has the same mask."""
    preprocessor = dict(type=kind, test_cfg=dict(size_divisor=64))
    model = MODELS.build({**tiny_config, 'data_preprocessor': preprocessor}).eval()
    inputs, samples = tiny_batch(batch=1)
    with torch.no_grad():
        (whole,) = model.test_step({'inputs': [inputs[0, :, :, :48]], 'data_samples': samples})
        inputs[..., 48:] = 0
        expected = model.encode_decode(inputs, tiny_batch(batch=1)[1])
    assert whole.seg_logits.shape == (64, 48)
    torch.testing.assert_close(whole.seg_logits.data, expected[0, :, :, :48], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ('images', 'settings', 'training', 'index'),
    [
        ((0, 0, 1, 0), {}, False, [0, 0, 1, 0]),
        ((1, 0, 0, 1), {}, False, [0, 1, 1, 0]),
        ((0, 1, 2, 3), {}, False, None),
        ((0, 0, 1, 0), dict(share_images=False), False, None),
        ((0, 0, 1, 0), dict(test_cfg=dict(size_divisor=48)), False, None),
        ((0, 0, 1, 0), {}, True, None),
    ],
)
def test_equal_images_of_a_test_batch(images, settings, training, index, tiny_batch):
    different = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    different[1] = different[0]
    different[1, 2, 63, 63] += 1  # nearly equal is not equal
    _, samples = tiny_batch(4)
    given = {'inputs': [different[place].clone() for place in images], 'data_samples': samples}
    preprocessor = ReferringPreProcessor(**{'share_images': True, **NORMALISED, **settings})
    data = preprocessor(given, training=training)
    assert len(given['inputs']) == 4 and not any('image_index' in sample for sample in samples)
    if index is None:
        assert len(data['inputs']) == 4 and not any('image_index' in sample for sample in data['data_samples'])
        return
    assert [int(sample.image_index) for sample in data['data_samples']] == index
    plain = ReferringPreProcessor(**NORMALISED)(given)['inputs']
    assert len(data['inputs']) == max(index) + 1 and data['inputs'][index].equal(plain)
