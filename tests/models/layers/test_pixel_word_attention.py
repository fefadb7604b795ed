"""Word attention, against its formula token by token."""

import math

import pytest
import torch
from torch.nn.functional import gelu, instance_norm

from mmmagnet.models.layers import PixelWordAttention, TokenInstanceNorm

WIDTH, TEXT_WIDTH, TOKENS = 8, 6, 5
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])


def reference(layer, image, words, mask):
    """One sample, one head at a time; padded words are left out."""
    results = []
    for tokens, expression, real in zip(image, words, mask.bool(), strict=True):
        expression = expression[real]
        query = normalise(layer.query_norm, layer.query(tokens))
        key, value = layer.key(expression), layer.value(expression)
        heads = []
        for head in torch.arange(WIDTH).chunk(layer.num_heads):
            similarity = query[:, head] @ key[:, head].T / math.sqrt(WIDTH)
            heads.append(similarity.exp() / similarity.exp().sum(1, keepdim=True) @ value[:, head])
        attended = normalise(layer.out_norm, layer.out(torch.cat(heads, dim=1)))
        results.append(gelu(layer.fuse(gelu(layer.image(tokens)) * attended)))
    return torch.stack(results)


def normalise(norm, tokens):
    axis = 0 if isinstance(norm, TokenInstanceNorm) else 1
    variance, mean = torch.var_mean(tokens, dim=axis, correction=0, keepdim=True)
    tokens = (tokens - mean) / (variance + 1e-5).sqrt()
    return tokens if axis == 0 else tokens * norm.weight + norm.bias


def inputs():
    return (
        torch.randn(3, TOKENS, WIDTH, dtype=torch.float64),
        torch.randn(3, MASK.shape[1], TEXT_WIDTH, dtype=torch.float64),
    )


@pytest.mark.parametrize('norm', ['layer', 'instance'])
@pytest.mark.parametrize('heads', [1, 2])
def test_reference(heads, norm, randomised):
    layer = randomised(PixelWordAttention(WIDTH, TEXT_WIDTH, heads, norm))
    image, words = inputs()
    torch.testing.assert_close(layer(image, words, MASK), reference(layer, image, words, MASK))


@pytest.mark.parametrize('norm', ['layer', 'instance'])
@pytest.mark.parametrize('dtype', [torch.int64, torch.bool, torch.float64])
def test_pads_change_nothing(norm, dtype, randomised):
    layer = randomised(PixelWordAttention(WIDTH, TEXT_WIDTH, 2, norm))
    image, words = inputs()
    before = layer(image, words, MASK.to(dtype))
    words[MASK == 0] = 1e3
    longer = torch.cat([words, torch.full((3, 2, TEXT_WIDTH), -50.0, dtype=torch.float64)], dim=1)
    mask = torch.nn.functional.pad(MASK, (0, 2)).to(dtype)
    torch.testing.assert_close(layer(image, longer, mask), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(num_heads=3), 'num_heads=3 does not divide the width 8'),
        (dict(norm='batch'), "norm='batch': expected 'layer' or 'instance'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelWordAttention(WIDTH, TEXT_WIDTH, **arguments)


def test_token_norm_over_all_tokens():
    tokens = torch.randn(2, TOKENS, 3) * 4 + 1
    torch.testing.assert_close(TokenInstanceNorm()(tokens), instance_norm(tokens.transpose(1, 2)).transpose(1, 2))


def test_token_norm_over_marked_tokens():
    tokens = torch.randn(3, 4, 2, dtype=torch.float64)
    tokens[MASK == 0] = 1e3
    normed = TokenInstanceNorm()(tokens, MASK)
    for row, mask, result in zip(tokens, MASK.bool(), normed, strict=True):
        torch.testing.assert_close(result[mask], TokenInstanceNorm()(row[mask][None])[0])


def test_token_norm_of_an_empty_expression_is_finite():
    assert TokenInstanceNorm()(torch.randn(1, 4, 2), torch.zeros(1, 4)).isfinite().all()


def test_token_norm_of_large_half_precision_tokens():
    tokens = (torch.randn(1, 100, 4) * 400).half()
    torch.testing.assert_close(
        TokenInstanceNorm()(tokens).float(), TokenInstanceNorm()(tokens.float()), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize('heads', [1, 2])
def test_shares_are_what_is_read(heads, randomised):
    """With the number of a word as its value, the mean of the numbers is what comes out."""
    layer = randomised(PixelWordAttention(WIDTH, TEXT_WIDTH, heads))
    image, words = inputs()
    shares = layer.shares(image, words, MASK)
    torch.testing.assert_close(shares.sum(2), torch.ones_like(shares[..., 0]))
    assert not shares[MASK[:, None].expand_as(shares) == 0].any()
    seen, numbers = [], torch.arange(4, dtype=torch.float64)
    layer.value.register_forward_hook(lambda *_: numbers.view(1, 4, 1).expand(3, 4, WIDTH))
    layer.out.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    layer(image, words, MASK)
    torch.testing.assert_close(seen[0].mean(2), shares @ numbers)
