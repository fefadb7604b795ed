"""MagNet's decoder as an mmseg head: one loss over all predictions, one mask at the input's size."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate

from mmmagnet.models.decode_heads import MagNetHead

CHANNELS = (8, 16, 24, 32)
SIZES = [(8, 12), (4, 6), (2, 3), (1, 2)]


@pytest.fixture
def head():
    return MagNetHead(
        CHANNELS,
        feat_channels=16,
        num_heads=2,
        num_points=2,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=16,
        decoder_layers=3,
        decoder_ffn=16,
        num_groups=4,
    ).eval()


@pytest.fixture
def maps():
    return [torch.randn(2, channels, *size) for channels, size in zip(CHANNELS, SIZES, strict=True)]


@pytest.fixture
def samples():
    made = []
    for index in range(2):
        truth = torch.zeros(1, 32, 48, dtype=torch.uint8)
        truth[0, :16, : 20 + index] = 1
        made.append(SegDataSample(gt_sem_seg=PixelData(data=truth)))
    return made


def test_forward(head, maps):
    predictions, mask_features = head(maps)
    assert mask_features.shape == (2, 16, 8, 12)
    assert [prediction.masks.shape for prediction in predictions] == [(2, 1, 8, 12)] * 4
    assert [prediction.classes.shape for prediction in predictions] == [(2, 1, 2)] * 4


def test_loss_sums_all_predictions(head, maps, samples):
    losses = head.loss(maps, samples)
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
    total = {'loss_bce': 0.0, 'loss_dice': 0.0}
    for prediction in head(maps).predictions:
        logits = interpolate(prediction.masks, (32, 48), mode='bilinear', align_corners=True)
        for name, value in head.loss_decode(logits, labels).items():
            total[name] += value.item()
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(total, rel=1e-5)


def test_class_head_has_a_gradient_of_zero(head, maps, samples):
    sum(head.loss(maps, samples).values()).backward()
    for parameter in head.query_decoder.class_embed.parameters():
        assert parameter.grad.equal(torch.zeros_like(parameter))


@pytest.mark.parametrize(
    ('meta', 'size'),
    [
        (dict(img_shape=(32, 48)), (32, 48)),
        (dict(img_shape=(30, 40, 3)), (30, 40)),
        (dict(img_shape=(30, 40), pad_shape=(32, 48)), (32, 48)),
    ],
)
def test_predict(head, maps, meta, size):
    logits = head.predict(maps, [meta, meta], {})
    expected = interpolate(head(maps).predictions[-1].masks, size, mode='bilinear', align_corners=True)
    torch.testing.assert_close(logits, expected)


def test_another_loss(head, maps, samples):
    other = MagNetHead(
        CHANNELS,
        16,
        2,
        2,
        1,
        16,
        3,
        16,
        num_groups=4,
        loss_decode=dict(type='MaskLoss', bce_weight=0.0, dice_weight=1.0),
    )
    other.load_state_dict(head.state_dict())
    losses, default = other.eval().loss(maps, samples), head.loss(maps, samples)
    assert losses['loss_bce'].item() == 0
    assert losses['loss_dice'].item() == pytest.approx(default['loss_dice'].item() / 2, rel=1e-5)
