"""Weighted cross-entropy and Dice against their definitions."""

import math

import pytest
import torch

from mmmagnet.models.losses import CEDiceLoss


def by_definition(logits, labels, weights):
    """Both losses, pixel by pixel."""
    total = weight = 0.0
    dices = []
    for scores, truth in zip(logits.tolist(), labels[:, 0].tolist(), strict=True):
        overlap = predicted = target = 0.0
        for row, line in enumerate(truth):
            for column, label in enumerate(line):
                if label == 255:
                    continue
                back, front = scores[0][row][column], scores[1][row][column]
                p = math.exp(front) / (math.exp(back) + math.exp(front))
                total -= weights[label] * math.log(p if label else 1 - p)
                weight += weights[label]
                overlap, predicted, target = overlap + p * label, predicted + p, target + label
        dices.append(1 - (2 * overlap + 1) / (predicted + target + 1))
    return total / weight, sum(dices) / len(dices)


@pytest.mark.parametrize('weights', [(0.9, 1.1), (1.0, 1.0)])
@pytest.mark.parametrize('kind', ['mixed', 'unknown', 'empty', 'full'])
def test_definition(kind, weights):
    logits = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([[[[0, 1, 1, 0]] * 3], [[[1, 0, 0, 0]] * 3]], dtype=torch.uint8)
    if kind == 'unknown':
        labels[0, 0, 1] = 255
    elif kind in ('empty', 'full'):
        labels.fill_(kind == 'full')
    ce, dice = by_definition(logits, labels, weights)
    losses = CEDiceLoss(2.0, 3.0, weights)(logits, labels)
    assert losses['loss_ce'].item() == pytest.approx(2 * ce, rel=1e-5)
    assert losses['loss_dice'].item() == pytest.approx(3 * dice, rel=1e-5)


@pytest.mark.parametrize(
    ('weights', 'names'),
    [((1.0, 0.0), ['loss_ce']), ((0.0, 1.0), ['loss_dice']), ((1.0, 1.0), ['loss_ce', 'loss_dice'])],
)
def test_what_has_no_weight_is_left_out(weights, names):
    loss = CEDiceLoss(*weights)
    assert list(loss(torch.randn(1, 2, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.uint8))) == names
    assert not loss.state_dict()


def test_half_precision_is_left():
    logits = torch.tensor([[30.0, -30.0]], dtype=torch.float16).view(1, 2, 1, 1)
    losses = CEDiceLoss()(logits, torch.ones(1, 1, 1, 1, dtype=torch.uint8))
    assert losses['loss_ce'].dtype == torch.float32
    assert losses['loss_ce'].item() == pytest.approx(60, rel=1e-3)


def test_nothing_known():
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    losses = CEDiceLoss(1.0, 1.0)(logits, torch.full((2, 1, 3, 3), 255, dtype=torch.uint8))
    assert losses['loss_ce'].item() == losses['loss_dice'].item() == 0
    sum(losses.values()).backward()
    assert not logits.grad.any()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float64])
def test_in_a_network_of_another_type(dtype):
    logits, labels = torch.randn(1, 2, 4, 4, dtype=dtype), torch.randint(0, 2, (1, 1, 4, 4))
    ours, whole = CEDiceLoss(1.0, 1.0).to(dtype)(logits, labels), CEDiceLoss(1.0, 1.0)(logits.float(), labels)
    for name, value in whole.items():
        assert ours[name].dtype == torch.float32
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-3)
