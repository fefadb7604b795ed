"""BCE and Dice, against their definitions pixel by pixel."""

import math

import pytest
import torch

from mmmagnet.models.losses import BCEDiceLoss


def reference(logits, labels, ignore_index):
    """Mean over samples of the sum over predictions, unweighted."""
    bce = dice = 0.0
    for sample, label in zip(logits.tolist(), labels.flatten(1).tolist(), strict=True):
        for prediction in sample:
            cost, pixels, overlap, predicted, true = 0.0, 0, 0.0, 0.0, 0
            for logit, value in zip((v for row in prediction for v in row), label, strict=True):
                if value == ignore_index:
                    continue
                p, target = 1 / (1 + math.exp(-logit)), int(value == 1)
                cost -= math.log(p if target else 1 - p)
                pixels, overlap = pixels + 1, overlap + p * target
                predicted, true = predicted + p, true + target
            bce += cost / max(pixels, 1) / len(logits)
            dice += (1 - (2 * overlap + 1) / (predicted + true + 1)) / len(logits)
    return bce, dice


def mixed():
    labels = torch.randint(0, 2, (2, 1, 3, 4))
    labels[0, 0, 0, :2] = 255
    return labels


@pytest.mark.parametrize(
    'labels',
    [mixed, lambda: torch.zeros(2, 1, 3, 4), lambda: torch.ones(2, 1, 3, 4), lambda: torch.full((2, 1, 3, 4), 255)],
    ids=['mixed', 'empty', 'full', 'unknown'],
)
def test_reference(labels):
    logits, labels = torch.randn(2, 3, 3, 4, requires_grad=True), labels().to(torch.uint8)
    losses = BCEDiceLoss(bce_weight=3, dice_weight=5)(logits, labels)
    bce, dice = reference(logits, labels, 255)
    assert losses['loss_bce'].item() == pytest.approx(3 * bce, abs=1e-5)
    assert losses['loss_dice'].item() == pytest.approx(5 * dice, abs=1e-5)
    (losses['loss_bce'] + losses['loss_dice']).backward()
    assert logits.grad.isfinite().all()
    assert not logits.grad[(labels == 255).expand_as(logits)].any()


def test_another_ignore_index():
    logits, labels = torch.randn(1, 1, 2, 2), torch.tensor([[[[0, 1], [7, 1]]]])
    losses = BCEDiceLoss(1, 1, ignore_index=7)(logits, labels)
    bce, dice = reference(logits, labels, 7)
    assert (losses['loss_bce'].item(), losses['loss_dice'].item()) == pytest.approx((bce, dice), abs=1e-6)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_computed_in_fp32(dtype):
    logits, labels = (torch.randn(1, 2, 90, 90) * 30).to(dtype), torch.ones(1, 1, 90, 90, dtype=torch.uint8)
    losses, expected = BCEDiceLoss()(logits, labels), BCEDiceLoss()(logits.float(), labels)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.equal(expected[name])
