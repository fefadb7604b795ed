"""Window attention and Swin blocks, against loops over windows and pairs of positions."""

import math

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, pad

from mmmagnet.models.layers import SwinBlock, WindowAttention
from mmmagnet.models.layers.window_attention import pad_tokens

# height, width, window: divided or not, several windows or one, smaller than the window, thin, window odd and one
SIZES = [(4, 4, 2), (8, 4, 4), (5, 7, 4), (3, 2, 4), (1, 6, 3), (6, 6, 3), (7, 7, 3), (2, 3, 1)]


def reference(layer, image, shift):
    """Every position gathers from its window, of a map that has moved up and left by `shift` and wrapped around."""
    size, heads = layer.window_size, layer.num_heads
    _, height, width, channels = image.shape
    image = pad(image, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = image.shape[1:3]
    query, key, value = layer.qkv(image).chunk(3, dim=3)
    result = torch.zeros_like(image)
    for top in range(0, rows, size):
        for left in range(0, columns, size):
            window = [(y, x) for y in range(top, top + size) for x in range(left, left + size)]
            for y, x in window:
                here = (y + shift) % rows, (x + shift) % columns
                for head, part in enumerate(torch.arange(channels).chunk(heads)):
                    logits, values = [], []
                    for v, u in window:
                        there = (v + shift) % rows, (u + shift) % columns
                        relative = (y - v + size - 1) * (2 * size - 1) + x - u + size - 1
                        logit = (query[:, here[0], here[1], part] * key[:, there[0], there[1], part]).sum(
                            1
                        ) / math.sqrt(len(part))
                        logit = logit + layer.relative_position_bias_table[relative, head]
                        wrapped = (y + shift >= rows) != (v + shift >= rows) or (x + shift >= columns) != (
                            u + shift >= columns
                        )
                        logits.append(logit - 100 * wrapped)
                        values.append(value[:, there[0], there[1], part])
                    share = torch.stack(logits).softmax(0)[:, :, None]
                    result[:, here[0], here[1], part] = (share * torch.stack(values)).sum(0)
    return layer.proj(result)[:, :height, :width]


@pytest.mark.parametrize('shift', [False, True])
@pytest.mark.parametrize(('height', 'width', 'window'), SIZES)
def test_window_attention(height, width, window, shift, randomised):
    layer = randomised(WindowAttention(4, 2, window, shift))
    image = torch.randn(2, height, width, 4, dtype=torch.float64, requires_grad=True)
    results = layer(image), reference(layer, image, window // 2 if shift else 0)
    torch.testing.assert_close(*results)
    grad = torch.randn_like(image)
    found, expected = (
        torch.autograd.grad(result, [image, *layer.parameters()], grad, materialize_grads=True) for result in results
    )
    torch.testing.assert_close(found, expected)


def test_padding_keeps_the_precision():
    padded = pad_tokens(torch.zeros(1, 3, 2, 6, dtype=torch.bfloat16), 1, 2, torch.ones(6))
    assert padded.dtype == torch.bfloat16
    assert padded.sum((0, 3)).tolist() == [[0, 0, 6, 6]] * 3 + [[6] * 4]


@pytest.mark.parametrize('shift', [False, True])
def test_block(shift, randomised):
    block = randomised(SwinBlock(4, 2, window_size=2, shift=shift, mlp_ratio=2, drop_path=0.3)).eval()
    image = torch.randn(1, 3, 5, 4, dtype=torch.float64)
    with torch.no_grad():
        normed = layer_norm(image, (4,), block.norm1.weight, block.norm1.bias)
        middle = image + reference(block.attn, normed, int(shift))
        hidden = gelu(block.mlp[0](layer_norm(middle, (4,), block.norm2.weight, block.norm2.bias)))
        torch.testing.assert_close(block(image), middle + block.mlp[2](hidden))


def test_drop_path_drops_whole_samples(randomised):
    block = randomised(SwinBlock(4, 1, window_size=2, shift=False, mlp_ratio=1, drop_path=0.5)).train()
    with torch.no_grad():
        block.mlp[2].weight.zero_()
        block.mlp[2].bias.zero_()
        image = torch.randn(64, 2, 2, 4, dtype=torch.float64)
        change = block(image) - image
        full = block.attn(block.norm1(image)) / 0.5
    dropped = (change == 0).flatten(1).all(1)
    assert 15 < dropped.sum() < 49
    torch.testing.assert_close(change[~dropped], full[~dropped])
