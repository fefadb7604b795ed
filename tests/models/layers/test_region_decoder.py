"""Region decoder and its pixel decoder, against their formulas sample by sample."""

import math

import pytest
import torch
from torch.nn.functional import conv2d, group_norm, interpolate

from mmmagnet.models.layers import FPNPixelDecoder, RegionDecoder, sine_positions_2d

WIDTH, HEADS, TEXT, REGIONS = 8, 2, 6, 4
SIZES = [(2, 2), (3, 4), (6, 5)]  # coarse to fine
VALID = (5, 2)


def attention(layer, query, key, value):
    """nn.MultiheadAttention of one sample: (Q, E), (N, E), (N, E) -> (Q, E)."""
    projected = [
        tokens @ weight.T + bias
        for tokens, weight, bias in zip(
            (query, key, value), layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True
        )
    ]
    heads = []
    for part in torch.arange(WIDTH).chunk(HEADS):
        q, k, v = (tokens[:, part] for tokens in projected)
        heads.append((q @ k.T / math.sqrt(len(part))).softmax(1) @ v)
    return layer.out_proj(torch.cat(heads, dim=1))


def reference(model, mask_features, scales, words):
    """One sample: (E, H_1, W_1), maps (E, H, W) and the words that are attended to -> Z, x, n."""
    regions = model.query_feat
    for index, layer in enumerate(model.layers):
        scale = scales[index % 3]
        value = scale.flatten(1).T + model.level_embed[index % 3]
        key = value + sine_positions_2d(*scale.shape[1:], WIDTH, value.device)
        masks = torch.einsum('qe,ehw->qhw', model.mask_embed(model.norm(regions)), mask_features)
        rows = []
        small = interpolate(masks[None], scale.shape[1:], mode='bilinear', align_corners=False)[0]
        for row, mask in enumerate(small.flatten(1)):
            seen = mask >= 0
            seen = seen if seen.any() else torch.ones_like(seen)
            placed = (regions + model.query_embed)[row : row + 1]
            rows.append(attention(layer.cross_attention, placed, key[seen], value[seen]))
        regions = layer.cross_norm(regions + torch.cat(rows))
        if index == 0:
            told = model.word_proj(words)
            read = model.word_norm(regions + attention(model.word_attention, regions, told, told))
            regions = regions + 0.1 * model.word_weight.sigmoid() * read
        placed = regions + model.query_embed
        regions = layer.self_norm(regions + attention(layer.self_attention, placed, placed, regions))
        regions = layer.ffn_norm(regions + layer.linear2(layer.linear1(regions).clamp(min=0)))
    regions = model.norm(regions)
    minimap = model.class_embed(regions)
    masks = torch.einsum('qe,ehw->qhw', model.mask_embed(regions), mask_features)
    return torch.einsum('qc,qhw->chw', minimap, masks), minimap, model.no_target_embed(regions).mean(0)


@pytest.mark.parametrize('compat', [False, True])
@pytest.mark.parametrize('layers', [1, 4])
def test_reference(compat, layers, randomised):
    model = randomised(RegionDecoder(WIDTH, TEXT, REGIONS, layers, HEADS, 12, official_compat=compat))
    scales = [torch.randn(2, WIDTH, *size, dtype=torch.float64) for size in SIZES]
    mask_features = torch.randn(2, WIDTH, 9, 8, dtype=torch.float64)
    words = torch.randn(2, max(VALID), TEXT, dtype=torch.float64)
    mask = (torch.arange(max(VALID)) < torch.tensor(VALID)[:, None]).long()
    found = model(mask_features, scales, words, mask)
    for sample, valid in enumerate(VALID):
        attended = words[sample] if compat else words[sample, :valid]
        expected = reference(model, mask_features[sample], [scale[sample] for scale in scales], attended)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[sample], theirs)


def test_words_start_silent():
    """Their projection is zero at first, but not for long: it gets a gradient in the first step."""
    model = RegionDecoder(WIDTH, TEXT, REGIONS, 2, HEADS, 12)
    scales = [torch.randn(1, WIDTH, *size) for size in SIZES]
    mask_features, mask = torch.randn(1, WIDTH, 9, 8), torch.ones(1, 3)
    one, other = (model(mask_features, scales, torch.randn(1, 3, TEXT), mask) for _ in range(2))
    assert one.masks.equal(other.masks)
    one.masks.sum().backward()
    assert model.word_proj.weight.grad.any()


def test_pixel_decoder(randomised):
    """Stride 4 joins by one step; the deformable layers never see it."""
    channels, shapes = (3, 4, 5, 6), [(8, 6), (4, 3), (2, 2), (1, 1)]
    model = randomised(FPNPixelDecoder(channels, WIDTH, 1, HEADS, num_points=2, ffn_width=12, num_groups=4))
    features = [torch.randn(2, c, *shape, dtype=torch.float64) for c, shape in zip(channels, shapes, strict=True)]
    mask_features, scales = model(features)
    assert [scale.shape for scale in scales] == [(2, WIDTH, *shape) for shape in shapes[:0:-1]]
    lateral, output = model.finest.lateral, model.finest.output
    fine = group_norm(conv2d(features[0], lateral.conv.weight), 4, lateral.gn.weight, lateral.gn.bias)
    fine = fine + interpolate(scales[-1], (8, 6), mode='bilinear', align_corners=False)
    fine = group_norm(conv2d(fine, output.conv.weight, padding=1), 4, output.gn.weight, output.gn.bias).clamp(min=0)
    torch.testing.assert_close(mask_features, model.mask_features(fine))
    features[0] = torch.zeros_like(features[0])
    assert model(features)[1][-1].equal(scales[-1])
