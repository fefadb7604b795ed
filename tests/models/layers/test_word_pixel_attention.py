"""Attention of words to pixels, against its formula, expression by expression."""

import math

import pytest
import torch
from torch.nn.functional import gelu, pad

from mmmagnet.models.layers import WordPixelAttention

WIDTH, IMAGE_WIDTH, TOKENS = 6, 4, 9
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])


def normalise(tokens):
    return (tokens - tokens.mean(0)) / (tokens.var(0, correction=0) + 1e-5).sqrt()


def reference(layer, words, image, mask, official_compat):
    """What the real words become. The release scales queries and shifts similarities by BERT's additive mask."""
    results = []
    for expression, tokens, real in zip(words, image, mask.bool(), strict=True):
        expression = expression if official_compat else expression[real]
        query, key, value = layer.query(expression), normalise(layer.key(tokens)), normalise(layer.value(tokens))
        if official_compat:
            additive = torch.where(real, 0.0, -10000.0).double()[:, None]
            similarity = (query * additive) @ key.T / math.sqrt(WIDTH) + (1e4 * additive - 1e4)
        else:
            similarity = query @ key.T / math.sqrt(WIDTH)
        attended = normalise(layer.out(similarity.softmax(1) @ value))
        result = gelu(layer.fuse(gelu(layer.text(expression)) * attended))
        results.append(result[real] if official_compat else result)
    return torch.cat(results)


def inputs(tokens=TOKENS):
    words = torch.randn(3, MASK.shape[1], WIDTH, dtype=torch.float64)
    return words, torch.randn(3, tokens, IMAGE_WIDTH, dtype=torch.float64)


@pytest.mark.parametrize('tokens', [TOKENS, IMAGE_WIDTH - 1])  # more and fewer than channels
@pytest.mark.parametrize('official_compat', [False, True])
def test_reference(official_compat, tokens, randomised):
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH, official_compat))
    words, image = inputs(tokens)
    image.requires_grad_()
    result = layer(words, image, MASK.double())[MASK.bool()]
    expected = reference(layer, words, image, MASK, official_compat)
    torch.testing.assert_close(result, expected)
    frozen = {name for name, weight in layer.named_parameters() if not weight.requires_grad}
    assert frozen == (set() if official_compat else {'key.bias', 'value.bias'})
    sought = (image, *(weight for weight in layer.parameters() if weight.requires_grad))
    found, wanted = (torch.autograd.grad(value.square().sum(), sought) for value in (result, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_channels_that_do_not_vary(randomised):
    """Their variance comes out as a rounding error of large numbers."""
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH)).float()
    words, image = (tensor.float() for tensor in inputs(100))
    image = image[..., :1] * 1e3 * torch.tensor([1.0, 2.0, 3.0, 4.0])
    with torch.no_grad():
        layer.key.weight.copy_(torch.tensor([3.0, 3.0, -3.0, 0.0]) + 0 * layer.key.weight)
    assert layer(words, image, MASK).isfinite().all()


@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.float64])
def test_pads_change_no_real_word(dtype, randomised):
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH))
    words, image = inputs()
    before = layer(words, image, MASK.to(dtype))[MASK.bool()]
    words[MASK == 0] = 1e3
    mask = pad(MASK, (0, 2))
    longer = torch.cat([words, torch.full((3, 2, WIDTH), -50.0, dtype=torch.float64)], dim=1)
    after = layer(longer, image, mask.to(dtype))[mask.bool()]
    torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def test_compat_does_not_look_at_words(randomised):
    """The defect that `official_compat` reproduces: real words attend to all pixels alike, whatever they say."""
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH, official_compat=True))
    words, image = inputs()
    before = layer(words, image, torch.ones_like(MASK))
    with torch.no_grad():
        layer.query.weight.mul_(-3)
    torch.testing.assert_close(layer(words, image, torch.ones_like(MASK)), before)


def test_compat_under_autocast(randomised):
    """Its numbers reach 1e8: similarities stay out of half precision."""
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH, official_compat=True)).float()
    words, image = (tensor.float() for tensor in inputs())
    with torch.autocast('cpu', torch.bfloat16):
        result = layer(words, image, MASK)
    assert result.isfinite().all()
    torch.testing.assert_close(result.float(), layer(words, image, MASK), rtol=0.1, atol=0.1)


@pytest.mark.parametrize('tokens', [TOKENS, IMAGE_WIDTH - 1])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_variances_beyond_half_precision(dtype, tokens, randomised):
    layer = randomised(WordPixelAttention(WIDTH, IMAGE_WIDTH)).float()
    words, image = (tensor.float() for tensor in inputs(tokens))
    image = 1e4 * image
    with torch.autocast('cpu', dtype):
        assert layer(words, image, MASK).isfinite().all()
        found = layer._attend(words, image)
    torch.testing.assert_close(found.float(), layer._attend(words, image), rtol=0.1, atol=0.1)
