"""Cross-modal alignment loss, against its definition pixel by pixel."""

import math

import pytest
import torch

from mmmagnet.models.losses import CrossModalAlignmentLoss

TAU1, TAU2 = 0.1, 0.3


def nce(positive, negatives):
    return -math.log(math.exp(positive) / (math.exp(positive) + sum(map(math.exp, negatives))))


def reference(pixels, expression, inside):
    """One sample, with every pixel compared."""
    pixels, expression = pixels / pixels.norm(dim=1, keepdim=True), expression / expression.norm()
    ins, outs = pixels[inside], pixels[~inside]
    if not len(ins) or not len(outs):
        return 0.0
    total = 0.0
    for anchors, others in ((ins, outs), (outs, ins)):
        mean = anchors.mean(0)
        losses = [nce(float(a @ mean) / TAU1, [float(a @ o) / TAU1 for o in others]) for a in anchors]
        total += sum(losses) / len(losses)
    text = [nce(float(p @ expression) / TAU2, [float(o @ expression) / TAU2 for o in outs]) for p in ins]
    return total + sum(text) / len(text)


def loss_of(pixels, expression, inside, num_samples=100, weight=1.0):
    return CrossModalAlignmentLoss(TAU1, TAU2, num_samples, weight)(pixels, expression, inside)


def inputs(*counts, pixels=9):
    """Features of samples with so many pixels inside, at random places."""
    inside = torch.stack([torch.randperm(pixels) < count for count in counts])
    return torch.randn(len(counts), pixels, 4) * 3, torch.randn(len(counts), 4), inside


@pytest.mark.parametrize('counts', [(4,), (1, 8), (3, 0, 9, 5)], ids=str)
def test_reference(counts):
    pixels, expression, inside = inputs(*counts)
    expected = [reference(*sample) for sample in zip(pixels, expression, inside, strict=True)]
    loss = loss_of(pixels, expression, inside, weight=0.7)
    assert loss.item() == pytest.approx(0.7 * sum(expected) / len(expected), rel=1e-5)


@pytest.mark.parametrize('num_samples', [3, 100])
@pytest.mark.parametrize('count', [0, 9], ids=['empty', 'full'])
def test_one_sided_mask_contributes_zero(count, num_samples):
    pixels, expression, inside = inputs(count)
    pixels.requires_grad_()
    expression.requires_grad_()
    loss = loss_of(pixels, expression, inside, num_samples)
    loss.backward()
    assert loss.item() == 0
    assert pixels.grad.equal(torch.zeros_like(pixels))
    assert expression.grad.equal(torch.zeros_like(expression))


@pytest.mark.parametrize('num_samples', [3, 100])
def test_one_sided_mask_beside_others(num_samples):
    """The gradient of the other samples is that of the batch without it, by the share of the mean."""
    pixels, expression, inside = inputs(0, 3)
    gradients = []
    for rows in (slice(None), slice(1, None)):
        given = pixels[rows].clone().requires_grad_()
        torch.manual_seed(1)
        loss_of(given, expression[rows], inside[rows], num_samples=100).backward()
        gradients.append(given.grad)
    torch.testing.assert_close(gradients[0][1], gradients[1][0] / 2)
    assert not gradients[0][0].any()


@pytest.mark.parametrize('counts', [(2,), (7,), (3,)])
def test_fewer_pixels_than_are_sampled(counts):
    """A side that has no more pixels than are sampled is taken whole; sampling never crosses the mask."""
    pixels, expression, inside = inputs(*counts)
    alike = torch.where(inside[..., None], pixels[:, :1], pixels[:, 1:2])  # only the number of samples can matter
    sampled = loss_of(alike, expression, inside, num_samples=8)
    assert sampled.isfinite()
    both = [min(int(side.sum()), 8) for side in (inside, ~inside)]
    kept = torch.cat([torch.ones(both[0], dtype=torch.bool), torch.zeros(both[1], dtype=torch.bool)])
    few = torch.where(kept[:, None], pixels[0, 0], pixels[0, 1])
    assert sampled.item() == pytest.approx(reference(few, expression[0], kept), rel=1e-5)


def test_sampling_is_uniform():
    """Every pixel of a side is sampled as often as every other, none of the other side."""
    pixels = torch.eye(12)[None]
    inside = torch.arange(12)[None] < 7
    loss = CrossModalAlignmentLoss(num_samples=4)
    counts = torch.zeros(12)
    rounds = 2000
    for _ in range(rounds):
        sampled, valid = loss._sample(pixels, inside)
        assert valid.all()
        assert sampled.sum(1).max() == 1, 'no pixel twice'
        counts += sampled[0].sum(0)
    assert not counts[7:].any()
    expected, deviation = rounds * 4 / 7, (rounds * 4 / 7 * 3 / 7) ** 0.5
    assert (counts[:7] - expected).abs().max() < 5 * deviation


def test_sampled_loss_is_near_the_full_one():
    """Anchors are sampled without bias; fewer negatives make the loss smaller, by a known number of them here."""
    pixels = torch.nn.functional.normalize(torch.randn(1, 400, 8), dim=2)
    inside, expression = torch.arange(400)[None] < 200, torch.randn(1, 8)
    sampled = torch.stack([loss_of(pixels, expression, inside, num_samples=150) for _ in range(20)]).mean()
    full = loss_of(pixels, expression, inside, num_samples=400)
    assert sampled < full
    assert (full - sampled).item() == pytest.approx(3 * math.log(200 / 150), rel=0.1)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_computed_in_fp32(dtype):
    pixels, expression, inside = inputs(4, 5)
    pixels, expression = (pixels * 100).to(dtype), expression.to(dtype)
    loss = loss_of(pixels, expression, inside)
    assert loss.dtype == torch.float32
    assert loss.equal(loss_of(pixels.float(), expression.float(), inside))
