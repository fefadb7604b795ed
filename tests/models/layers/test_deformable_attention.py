"""Deformable attention, against a loop over points with bilinear sampling written out."""

import math

import pytest
import torch

from mmmagnet.models.layers import DeformableAttention
from mmmagnet.models.layers import deformable_attention as module
from mmmagnet.models.layers.deformable_attention import (
    reference_points,
    run_compiled,
    sample_by_grid,
    sample_by_rows,
)

both_ways = pytest.mark.parametrize('sample', [sample_by_grid, sample_by_rows])

SHAPES = [(1, 1), (2, 3), (4, 3)]
TOKENS = sum(height * width for height, width in SHAPES)


def bilinear(plane, x, y):
    """Value of `plane` (H, W, c) at (x, y) in 0..1, pixel centres at half steps; zero outside."""
    height, width = plane.shape[:2]
    x, y = x * width - 0.5, y * height - 0.5
    total = torch.zeros_like(plane[0, 0])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                total = total + (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return total


def naive(value, shapes, locations, weights):
    batch, _, heads, channels = value.shape
    result = torch.zeros(batch, locations.shape[1], heads * channels, dtype=value.dtype)
    for b, q, h in torch.cartesian_prod(*(torch.arange(n) for n in locations.shape[:3])).tolist():
        start = 0
        for level, (height, width) in enumerate(shapes):
            plane = value[b, start : start + height * width, h].view(height, width, channels)
            start += height * width
            for (x, y), weight in zip(locations[b, q, h, level], weights[b, q, h, level], strict=True):
                result[b, q, h * channels : (h + 1) * channels] += weight * bilinear(plane, float(x), float(y))
    return result


def arguments(low, high, queries=3, heads=2, points=2):
    value = torch.randn(2, TOKENS, heads, 2, dtype=torch.float64)
    locations = torch.empty(2, queries, heads, len(SHAPES), points, 2, dtype=torch.float64).uniform_(low, high)
    return value, SHAPES, locations, torch.rand(locations.shape[:-1], dtype=torch.float64)


@pytest.mark.parametrize(
    ('low', 'high'), [(0.3, 0.7), (0, 1), (-0.6, 1.6), (3, 4)], ids=['inside', 'all', 'over the edge', 'outside']
)
@both_ways
def test_sampling(sample, low, high):
    given = arguments(low, high)
    torch.testing.assert_close(sample(*given), naive(*given))


def test_blocks_of_queries(monkeypatch):
    given = arguments(-0.6, 1.6, queries=5)
    whole = sample_by_rows(*given)
    monkeypatch.setattr(module, '_BLOCK', 2)
    torch.testing.assert_close(sample_by_rows(*given), whole)


@both_ways
def test_gradients(sample):
    value, _, locations, weights = (
        tensor.requires_grad_() if isinstance(tensor, torch.Tensor) else tensor
        for tensor in arguments(-0.4, 1.4, queries=2)
    )
    assert torch.autograd.gradcheck(
        lambda *tensors: sample(tensors[0], SHAPES, *tensors[1:]), (value, locations, weights)
    )


def layer_and_inputs(randomised):
    layer = randomised(DeformableAttention(width=8, num_levels=len(SHAPES), num_heads=2, num_points=3))
    query, value = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, TOKENS, 8, dtype=torch.float64)
    return layer, query, value, torch.rand(5, 2)


def test_layer(randomised):
    layer, query, value, reference = layer_and_inputs(randomised)
    offsets = layer.sampling_offsets(query).view(2, 5, 2, 3, 3, 2)
    weights = layer.attention_weights(query).view(2, 5, 2, 9).softmax(3).view(2, 5, 2, 3, 3)
    locations = torch.empty_like(offsets)
    for level, (height, width) in enumerate(SHAPES):
        for axis, side in enumerate((width, height)):
            locations[..., level, :, axis] = reference[None, :, None, None, axis] + offsets[..., level, :, axis] / side
    with torch.no_grad():
        expected = layer.output_proj(naive(layer.value_proj(value).view(2, TOKENS, 2, 4), SHAPES, locations, weights))
        torch.testing.assert_close(layer(query, value, reference, SHAPES), expected)


def test_what_the_compiled_kernel_is_given():
    """The kernel cannot run here; one with its signature, by its documentation, must give the same."""

    class Kernel:
        @staticmethod
        def apply(value, spatial, starts, locations, weights, step):
            assert value.dtype == locations.dtype == weights.dtype == torch.float32
            assert value.shape[0] % step == 0
            shapes = [tuple(shape) for shape in spatial.tolist()]
            assert starts.tolist() == [0, 1, 7]
            return naive(value, shapes, locations, weights)

    value, shapes, locations, weights = arguments(-0.2, 1.2)
    result = run_compiled(Kernel, value, shapes, locations, weights)
    torch.testing.assert_close(result.double(), sample_by_grid(value, shapes, locations, weights), rtol=1e-4, atol=1e-5)


def test_starts_with_heads_looking_in_different_directions():
    layer = DeformableAttention(width=8, num_levels=2, num_heads=4, num_points=3)
    bias = layer.sampling_offsets.bias.view(4, 2, 3, 2)
    directions = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    expected = directions[:, None, None] * torch.tensor([1.0, 2, 3])[:, None]
    torch.testing.assert_close(bias.detach(), expected.expand(4, 2, 3, 2))
    for parameter in (layer.sampling_offsets.weight, layer.attention_weights.weight, layer.attention_weights.bias):
        assert not parameter.any()


def test_reference_points():
    expected = [
        ((x + 0.5) / width, (y + 0.5) / height) for height, width in SHAPES for y in range(height) for x in range(width)
    ]
    torch.testing.assert_close(reference_points(tuple(SHAPES), torch.device('cpu')), torch.tensor(expected))


def test_training_after_inference_mode(randomised):
    """Sizes are kept between calls; those made in inference mode must not break a later backward pass."""
    layer, query, value, _ = layer_and_inputs(randomised)
    shapes = [(1, 1), (3, 2), (2, 6)]
    with torch.inference_mode():
        layer(query, value, reference_points(((1, 5),), torch.device('cpu')), shapes)
    layer(query, value, reference_points(((1, 5),), torch.device('cpu')), shapes).sum().backward()


def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match='num_heads=3 does not divide the width 8'):
        DeformableAttention(width=8, num_heads=3)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('batch', [1, 2])
@both_ways
def test_half_precision_values_are_read_at_whole_precision(sample, dtype, batch):
    """A place told in half precision would be off by up to half a pixel on a large map."""
    shapes = [(60, 80)]
    value = torch.randn(batch, 60 * 80, 2, 4).to(dtype)
    locations = torch.rand(batch, 50, 2, 1, 3, 2)
    weights = torch.rand(batch, 50, 2, 1, 3)
    expected = sample_by_grid(value.float(), shapes, locations, weights)
    found = sample(value, shapes, locations, weights.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.03)


@both_ways
def test_places_that_are_not_finite(sample):
    """A training that has diverged ends in a loss that is not finite, not in a read outside the maps."""
    value, shapes, locations, weights = arguments(0, 1)
    locations[0, 0] = torch.nan
    locations[0, 1] = torch.inf
    assert sample(value, shapes, locations, weights).shape == (2, 3, 4)
