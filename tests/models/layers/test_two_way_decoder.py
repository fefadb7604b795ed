"""Two-way decoder, against attention written out head by head without padded words."""

import math

import pytest
import torch
from torch.nn.functional import layer_norm

from mmmagnet.models.layers import TwoWayDecoder, sine_positions_2d
from mmmagnet.models.layers.deformable_attention import reference_points
from mmmagnet.models.layers.two_way_decoder import WideAttention

WIDTH, HEADS, TEXT = 8, 2, 5
CHANNELS = (3, 4, 6)
SHAPES = [(4, 5), (2, 3), (1, 2)]  # fine to coarse
WORDS = 6
VALID = (6, 3)


def attention(layer, query, key, value):
    """One sample, (Q, E), (N, E), (N, E) -> (Q, E); the heads share the inner width of 4E."""
    projected = layer.query(query), layer.key(key), layer.value(value)
    heads = []
    for part in torch.arange(4 * WIDTH).chunk(HEADS):
        q, k, v = (tokens[:, part] for tokens in projected)
        heads.append((q @ k.T / math.sqrt(len(part))).softmax(1) @ v)
    return layer.out(torch.cat(heads, dim=1))


def norm(module, tokens):
    return layer_norm(tokens, (WIDTH,), module.weight, module.bias, 1e-5)


def reference(model, features, words):
    """One sample: maps (C_i, H_i, W_i) fine to coarse, real words (L, D) -> image tokens, words, prompts."""
    shapes = SHAPES[::-1]
    image = torch.cat(
        [
            projection(feature[None])[0].flatten(1).T
            for projection, feature in zip(model.projections, features[::-1], strict=True)
        ]
    )
    places = torch.cat(
        [sine_positions_2d(*shape, WIDTH, image.device) + model.level_embed[i] for i, shape in enumerate(shapes)]
    )
    points = reference_points(tuple(shapes), image.device)
    words = torch.cat([model.word_proj(words), model.prompts])
    for layer in model.layers:
        read = attention(layer.words_read_image, words, image + places, image)
        words = norm(layer.words_norms[0], words + layer.words_scale * read)
        words = norm(layer.words_norms[1], words + attention(layer.words_self, words, words, words))
        words = norm(layer.words_norms[2], words + layer.words_mlp(words))
        read = attention(layer.image_reads_words, image + places, words, words)
        image = norm(layer.image_norms[0], image + layer.image_scale * read)
        sampled = layer.image_self((image + places)[None], image[None], points, shapes)[0]
        image = norm(layer.image_norms[1], image + sampled)
        image = norm(layer.image_norms[2], image + layer.image_mlp(image))
    return image, words[: -len(model.prompts)], words[-len(model.prompts) :]


def inputs(batch=2):
    features = [
        torch.randn(batch, channels, *shape, dtype=torch.float64)
        for channels, shape in zip(CHANNELS, SHAPES, strict=True)
    ]
    mask = (torch.arange(WORDS) < torch.tensor(VALID)[:, None]).long()
    return features, torch.randn(batch, WORDS, TEXT, dtype=torch.float64), mask


def decoder(layers):
    return TwoWayDecoder(CHANNELS, TEXT, WIDTH, layers, HEADS, num_points=2, num_prompts=3, num_groups=4)


@pytest.mark.parametrize('layers', [0, 1, 3])
def test_reference(layers, randomised):
    model, (features, words, mask) = randomised(decoder(layers)), inputs()
    maps, found_words, prompts = model(features, words, mask)
    assert [tuple(scale.shape[2:]) for scale in maps] == SHAPES[::-1]
    for sample, valid in enumerate(VALID):
        expected = reference(model, [feature[sample] for feature in features], words[sample, :valid])
        image = torch.cat([scale[sample].flatten(1).T for scale in maps])
        for ours, theirs in zip((image, found_words[sample, :valid], prompts[sample]), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_first_values():
    """As released: small linear layers, factors of one, prompts and levels of unit variance."""
    model = TwoWayDecoder(CHANNELS, TEXT, width=64, num_layers=1, num_prompts=50)
    layer = model.layers[0]
    assert layer.words_scale.eq(1).all() and layer.image_scale.eq(1).all()
    for linear in (layer.words_self.query, layer.words_mlp[0], layer.image_mlp[2]):
        assert 0.018 < linear.weight.std() < 0.022 and not linear.bias.any()
    assert 0.9 < model.prompts.std() < 1.1
    assert not layer.image_self.sampling_offsets.weight.any()


def test_half_precision_leaves_the_points_alone():
    """Under autocast the deformable attention gets fp32, as in the release."""
    layer = decoder(1).layers[0]
    seen = []
    layer.image_self.value_proj.register_forward_hook(lambda _, given, result: seen.append(result.dtype))
    shapes = SHAPES[::-1]
    tokens, words = torch.randn(2, sum(h * w for h, w in shapes), WIDTH), torch.randn(2, WORDS, WIDTH)
    points = reference_points(tuple(shapes), tokens.device)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        layer(tokens, words, torch.ones(2, WORDS), torch.zeros_like(tokens[0]), points, shapes)
    assert seen == [torch.float32]


def test_wide_attention_reads_real_words_only():
    layer, tokens = WideAttention(WIDTH, HEADS), torch.randn(2, WORDS, WIDTH)
    mask = (torch.arange(WORDS) < torch.tensor(VALID)[:, None]).long()
    changed = torch.where(mask[..., None].bool(), tokens, 7.0)
    torch.testing.assert_close(layer(tokens, tokens, tokens, mask), layer(tokens, changed, changed, mask))
    assert not torch.allclose(layer(tokens, tokens, tokens), layer(tokens, changed, changed))
