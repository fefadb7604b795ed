"""The alignment modules: gates that open, pools that are mixed, sides that can be left out."""

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, gelu, interpolate, layer_norm

from mmmagnet.models.necks import CrossModalAlignmentModule
from mmmagnet.models.necks.cross_modal_alignment_module import PooledAttention, ResidualGate

CHANNELS, TEXT = (8, 16), 6
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def neck(**arguments):
    return CrossModalAlignmentModule(CHANNELS, TEXT, **{'pool_sizes': (1, 2), **arguments})


def inputs(stage=0, dtype=torch.float64):
    image = torch.randn(2, 4, 3, CHANNELS[stage], dtype=dtype)
    return image, torch.randn(2, MASK.shape[1], TEXT, dtype=dtype), MASK


@pytest.mark.parametrize('activation', [nn.GELU(), nn.ReLU()])
def test_gate(activation, randomised):
    gate = randomised(ResidualGate(4, activation))
    tokens, update = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    expected = tokens + (activation(update @ gate.inner.weight.T) @ gate.outer.weight.T).tanh() * update
    torch.testing.assert_close(gate(tokens, update), expected)


# zero, step from which on (outer, inner) have a gradient
@pytest.mark.parametrize(('zero', 'outer', 'inner'), [(None, 1, 1), ('last', 1, 2), ('both', None, None)])
def test_gate_starts_shut_and_learns(zero, outer, inner):
    gate = ResidualGate(4, nn.ReLU(), zero)
    optimizer = torch.optim.SGD(gate.parameters(), lr=0.1)
    tokens, update = torch.randn(2, 2, 3, 4)
    assert gate(tokens, update).equal(tokens) == (zero is not None)
    for step in (1, 2, 3):
        optimizer.zero_grad()
        gate(tokens, update).square().sum().backward()
        for weight, first in ((gate.outer.weight, outer), (gate.inner.weight, inner)):
            assert bool(weight.grad.any()) == (first is not None and step >= first)
        optimizer.step()


@pytest.mark.parametrize('size', [1, 2, 3, 6])
def test_pooled_attention(size, randomised):
    layer = randomised(PooledAttention(size, 8, TEXT, num_heads=2))
    image, words, mask = inputs()
    first, norm, second, _, third = layer.reduce
    pooled = adaptive_avg_pool2d(image.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1).flatten(1, 2)
    reduced = layer_norm(pooled @ first.weight.T, (32,), norm.weight, norm.bias, eps=1e-6)
    reduced = gelu(reduced @ second.weight.T) @ third.weight.T
    context = layer.attention(reduced, words, mask).view(2, size, size, 2).permute(0, 3, 1, 2)
    context = interpolate(context, (4, 3), mode='bilinear', align_corners=True)
    torch.testing.assert_close(layer(image, words, mask), context.permute(0, 2, 3, 1).flatten(1, 2))


def test_alignment_module(randomised):
    """All three results, from V and T as they came out of the stage: no side reads what the other has changed."""
    model = randomised(neck(pool_sizes=(1, 2, 3)))
    for stage, fusion in enumerate(model.stages):
        image, words, mask = inputs(stage)
        tokens = image.flatten(1, 2)
        attended = fusion.attention(tokens, words, mask)
        read = [level(image, words, mask) for level in fusion.pyramid] + [attended]
        expected = fusion.mixer(torch.cat(read, dim=2)).view(2, 4, 3, -1).permute(0, 3, 1, 2)
        feature, fused, updated = model.fuse(stage, image, words, mask)
        torch.testing.assert_close(feature, expected)
        torch.testing.assert_close(fused.flatten(1, 2), fusion.gate(tokens, attended))
        update = fusion.text_attention(words, tokens, mask)
        torch.testing.assert_close(updated, fusion.text_gate(words, update))
        assert isinstance(fusion.gate.activation, nn.GELU)
        assert isinstance(fusion.text_gate.activation, nn.ReLU)


def test_mixer_is_as_wide_as_what_it_reads():
    mixer = neck(pool_sizes=(1, 2, 3, 6)).stages[1].mixer
    assert (mixer[0].in_features, mixer[0].out_features) == (32, 16)


def test_one_way_fusion(randomised):
    """LAVT's: the decoder feature is r, normalised; words stay as they are."""
    model = randomised(neck(pool_sizes=(), bidirectional=False, norm='instance', gate_activation='relu'))
    image, words, mask = inputs()
    fusion = model.stages[0]
    feature, fused, updated = model.fuse(0, image, words, mask)
    attended = fusion.attention(image.flatten(1, 2), words, mask)
    torch.testing.assert_close(feature.flatten(2).transpose(1, 2), fusion.mixer(attended))
    assert isinstance(fusion.mixer, nn.LayerNorm)
    assert isinstance(fusion.gate.activation, nn.ReLU)
    assert updated is words
    assert not fused.equal(image)
    assert not [name for name, _ in model.named_parameters() if 'text' in name or 'pyramid' in name]


def test_pads_change_nothing(randomised):
    model = randomised(neck())
    image, words, mask = inputs()
    feature, fused, updated = model.fuse(0, image, words, mask)
    other = torch.where(mask[..., None] == 1, words, 1e3)
    again = model.fuse(0, image, other, mask)
    torch.testing.assert_close(again[0], feature)
    torch.testing.assert_close(again[1], fused)
    torch.testing.assert_close(again[2][mask == 1], updated[mask == 1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('official_compat', [False, True])
def test_text_gate_at_the_start(official_compat):
    model = neck(official_compat=official_compat)
    image, words, mask = inputs(dtype=torch.float32)
    assert model.fuse(0, image, words, mask)[2].equal(words)
    gate = model.stages[0].text_gate
    assert not gate.outer.weight.any()
    assert gate.inner.weight.any() != official_compat


@pytest.mark.parametrize(
    ('maps', 'image', 'words', 'frozen'),
    [
        ((0, 1), True, True, []),
        ((1,), True, True, ['stages.0.mixer', 'stages.0.pyramid']),
        ((0, 1), False, True, ['stages.1.gate']),
        ((0, 1), True, False, ['stages.1.text_attention', 'stages.1.text_gate']),
    ],
)
def test_freeze_unread(maps, image, words, frozen):
    """What is frozen is what a loss over the results that are read does not reach."""
    model = neck()
    biases = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert {name.split('.', 2)[2] for name in biases} == {'text_attention.key.bias', 'text_attention.value.bias'}
    model.freeze_unread(maps, image, words)
    found = {name for name, weight in model.named_parameters() if not weight.requires_grad} - biases
    assert {'.'.join(name.split('.')[:3]) for name in found} == set(frozen)
    given, text, mask = inputs(dtype=torch.float32)
    first, given, text = model.fuse(0, given, text, mask)
    second, given, text = model.fuse(1, torch.cat([given, given], dim=3), text, mask)
    read = [result for index, result in enumerate((first, second)) if index in maps]
    sum(result.sum() for result in (*read, *image * [given], *words * [text])).backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is None} == found | biases


def test_heads_of_each_stage():
    assert [fusion.attention.num_heads for fusion in neck(num_heads=(1, 2)).stages] == [1, 2]
    assert [fusion.attention.num_heads for fusion in neck(num_heads=2).stages] == [2, 2]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(gate_activation='tanh'), "gate_activation='tanh': expected one of"),
        (dict(norm='batch'), "norm='batch'"),
        (dict(num_heads=(1, 1, 1)), 'zip'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        neck(**arguments)
