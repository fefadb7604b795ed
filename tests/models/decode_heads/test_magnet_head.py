"""MagNet's decoder as an mmseg head: one loss over all predictions, one mask at the input's size."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate

from mmmagnet.models.decode_heads import MagNetHead

CHANNELS = (8, 16, 24, 32)
SIZES = [(8, 12), (4, 6), (2, 3), (1, 2)]


SMALL = dict(
    feat_channels=16,
    num_heads=2,
    num_points=2,
    pixel_decoder_layers=1,
    pixel_decoder_ffn=16,
    decoder_layers=3,
    decoder_ffn=16,
    num_groups=4,
)


@pytest.fixture
def head():
    return MagNetHead(CHANNELS, **SMALL).eval()


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
    decoded = head(maps)
    assert decoded.mask_features.shape == (2, 16, 8, 12)
    assert [prediction.masks.shape for prediction in decoded.predictions] == [(2, 1, 8, 12)] * 4
    assert [prediction.classes.shape for prediction in decoded.predictions] == [(2, 1, 2)] * 4
    assert decoded.logits is decoded.predictions[-1].masks
    assert decoded.target_score is None


def test_loss_sums_all_predictions(head, maps, samples):
    losses = head.loss(maps, samples)
    labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
    total = {'loss_bce': 0.0, 'loss_dice': 0.0}
    for prediction in head(maps).predictions:
        logits = interpolate(prediction.masks, (32, 48), mode='bilinear', align_corners=True)
        for name, value in head.loss_decode(logits, labels).items():
            total[name] += value.item()
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(total, rel=1e-5)


def test_only_the_class_head_is_frozen(head, maps, samples):
    sum(head.loss(maps, samples).values()).backward()
    frozen = [name for name, weight in head.named_parameters() if not weight.requires_grad]
    assert frozen == ['query_decoder.class_embed.weight', 'query_decoder.class_embed.bias']
    assert frozen == [name for name, weight in head.named_parameters() if weight.grad is None]
    assert all(weight.requires_grad for weight in MagNetHead(CHANNELS, **SMALL, no_target=True).parameters())


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
        loss_decode=dict(type='BCEDiceLoss', bce_weight=0.0, dice_weight=1.0),
    )
    other.load_state_dict(head.state_dict())
    losses, default = other.eval().loss(maps, samples), head.loss(maps, samples)
    assert losses['loss_bce'].item() == 0
    assert losses['loss_dice'].item() == pytest.approx(default['loss_dice'].item() / 2, rel=1e-5)


class _Squares(torch.nn.Module):
    def forward(self, logits, labels):
        return {'loss_squares': (logits.sigmoid() - labels).square().mean()}


def test_a_loss_of_another_name(maps, samples):
    head = MagNetHead(CHANNELS, **SMALL, loss_decode=dict(type=_Squares))
    losses = head.loss(maps, samples)
    assert losses.keys() == {'loss_squares'}


def telling(head, **settings):
    """The same head, telling whether there is a target."""
    other = MagNetHead(CHANNELS, **SMALL, no_target=True, **settings).eval()
    other.load_state_dict(head.state_dict())
    return other


@pytest.mark.parametrize('weight', [1.0, 0.3])
def test_loss_of_no_target(weight, head, maps, samples):
    """Cross-entropy after each layer: class 0 = there, class 1 = no object. Masks are learned as ever."""
    samples[1].gt_sem_seg.data.zero_()
    samples[1].gt_sem_seg.data[0, 0, 0] = 255  # unknown is no target either
    other = telling(head, target_loss_weight=weight)
    losses = other.loss(maps, samples)
    expected = sum(
        weight * torch.nn.functional.cross_entropy(prediction.classes[:, 0], torch.tensor([0, 1]))
        for prediction in head(maps).predictions[1:]
    )
    torch.testing.assert_close(losses.pop('loss_target'), expected)
    found = head(maps).predictions[-1].classes[:, 0].argmax(1) == torch.tensor([0, 1])
    assert losses.pop('acc_target').item() == 100 * found.float().mean()
    for name, value in head.loss(maps, samples).items():
        torch.testing.assert_close(losses[name], value)
    sum(other.loss(maps, samples)[name] for name in ('loss_bce', 'loss_dice', 'loss_target')).backward()
    assert all(parameter.grad.isfinite().all() for parameter in other.parameters())
    assert other.query_decoder.class_embed.weight.grad.any()


def test_the_mask_of_no_target_falls_to_background(head, maps, samples):
    samples[1].gt_sem_seg.data.zero_()
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        sum(head.loss(maps, samples).values()).backward()
        optimizer.step()
    predicted = (head.predict(maps, [dict(img_shape=(32, 48))] * 2) > 0).flatten(1).float().mean(1)
    assert predicted[1] == 0
    assert predicted[0] > 0.1


@pytest.mark.parametrize('threshold', [0.0, 0.5, 1.1])
def test_prediction_of_no_target(threshold, head, maps):
    other = telling(head, target_threshold=threshold)
    with torch.no_grad():
        other.query_decoder.mask_embed[-1].weight.zero_()
        other.query_decoder.mask_embed[-1].bias.normal_()
        difference = other(maps).predictions[-1].classes.diff(dim=2).mean(0).squeeze()
        other.query_decoder.class_embed.bias[0] += difference  # one of the two is there, the other not
    decoded = other(maps)
    scores = decoded.target_score
    torch.testing.assert_close(scores, decoded.predictions[-1].classes[:, 0].softmax(1)[:, 0])
    assert scores.min() < 0.5 < scores.max()
    logits, plain = other.predict(maps, [dict(img_shape=(32, 48))] * 2), decoded.predictions[-1].masks
    assert logits.equal(other.predict_by_feat(decoded, (32, 48)))
    for logit, mask, score in zip(logits, plain, scores, strict=True):
        if score < threshold:
            assert (logit < -10).all()
        else:
            assert logit.equal(interpolate(mask[None], (32, 48), mode='bilinear', align_corners=True)[0])
