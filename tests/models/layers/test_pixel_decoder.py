"""Pixel decoder: order and shapes of the scales, and one layer written out."""

import pytest
import torch
from torch.nn.functional import layer_norm

from mmmagnet.models.layers import PixelDecoder, sine_positions_2d
from mmmagnet.models.layers.deformable_attention import reference_points

CHANNELS = (3, 5, 6, 7)
SHAPES = [(8, 6), (4, 3), (2, 2), (1, 1)]


def features():
    return [torch.randn(2, channels, *shape) for channels, shape in zip(CHANNELS, SHAPES, strict=True)]


def decoder(layers):
    return PixelDecoder(CHANNELS, width=8, num_layers=layers, num_heads=2, num_points=2, ffn_width=12, num_groups=4)


def test_shapes():
    mask_features, scales = decoder(2)(features())
    assert mask_features.shape == (2, 8, 8, 6)
    assert [scale.shape for scale in scales] == [(2, 8, *shape) for shape in reversed(SHAPES)]


def test_without_layers_it_projects():
    model, inputs = decoder(0), features()
    mask_features, scales = model(inputs)
    for scale, projection, feature in zip(scales, model.projections, reversed(inputs), strict=True):
        torch.testing.assert_close(scale, projection(feature))
    torch.testing.assert_close(mask_features, model.mask_features(scales[-1]))


@pytest.mark.parametrize('block', [1024, 14, 1], ids=['whole', 'blocks of seven', 'single tokens'])
def test_one_layer(randomised, block, monkeypatch):
    """Tokens of a CPU are mixed block by block."""
    monkeypatch.setattr('mmmagnet.models.layers.pixel_decoder._BLOCK', block)
    model, inputs = randomised(decoder(1)), [feature.double() for feature in features()]
    maps = [projection(feature) for projection, feature in zip(model.projections, reversed(inputs), strict=True)]
    shapes = SHAPES[::-1]
    tokens = torch.cat([feature.flatten(2).transpose(1, 2) for feature in maps], dim=1)
    positions = torch.cat(
        [sine_positions_2d(*shape, 8, tokens.device) + model.level_embed[level] for level, shape in enumerate(shapes)]
    )
    layer = model.layers[0]
    read = layer.attention(tokens + positions, tokens, reference_points(tuple(shapes), tokens.device), shapes)
    tokens = layer_norm(tokens + read, (8,), layer.norm1.weight, layer.norm1.bias)
    hidden = layer.linear2(layer.linear1(tokens).clamp(min=0))
    tokens = layer_norm(tokens + hidden, (8,), layer.norm2.weight, layer.norm2.bias)
    scales = model(inputs)[1]
    torch.testing.assert_close(torch.cat([scale.flatten(2).transpose(1, 2) for scale in scales], dim=1), tokens)
