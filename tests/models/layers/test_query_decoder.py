"""Query decoder, against masked attention query by query over the pixels that its mask leaves."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from mmmagnet.models.layers import QueryDecoder, sine_positions_2d

WIDTH, HEADS = 8, 2
SIZES = [(2, 2), (3, 4), (6, 5), (9, 8)]  # coarse to fine


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


def reference(model, mask_features, scales):
    """All predictions for one sample, and how often a query had nothing left to look at."""

    def predict(query):
        query = model.norm(query)
        return torch.einsum('qe,ehw->qhw', model.mask_embed(query), mask_features), model.class_embed(query)

    query, nothing_left = model.query_feat, 0
    predictions = [predict(query)]
    for index, layer in enumerate(model.layers):
        scale = scales[index % 3]
        value = scale.flatten(1).T + model.level_embed[index % 3]
        key = value + sine_positions_2d(*scale.shape[1:], WIDTH, value.device)
        masks = interpolate(predictions[-1][0][None], scale.shape[1:], mode='bilinear', align_corners=False)[0]
        rows = []
        for row, mask in enumerate(masks.flatten(1)):
            seen = mask.sigmoid() >= 0.5
            if not seen.any():
                nothing_left += 1
                seen[:] = True
            placed = query[row : row + 1] + model.query_embed[row]
            rows.append(attention(layer.cross_attention, placed, key[seen], value[seen]))
        query = layer.cross_norm(query + torch.cat(rows))
        placed = query + model.query_embed
        query = layer.self_norm(query + attention(layer.self_attention, placed, placed, query))
        query = layer.ffn_norm(query + layer.linear2(layer.linear1(query).clamp(min=0)))
        predictions.append(predict(query))
    return predictions, nothing_left


def inputs():
    scales = [torch.randn(2, WIDTH, *size, dtype=torch.float64) for size in SIZES]
    return torch.randn(2, WIDTH, *SIZES[-1], dtype=torch.float64), scales


@pytest.mark.parametrize('empty', [False, True])
@pytest.mark.parametrize(('queries', 'layers'), [(1, 4), (3, 2), (2, 0)])
def test_reference(queries, layers, empty, randomised):
    model = randomised(QueryDecoder(WIDTH, queries, layers, HEADS, ffn_width=12, num_classes=2))
    mask_features, scales = inputs()
    if empty:  # every mask is negative everywhere
        mask_features = mask_features.abs()
        with torch.no_grad():
            model.mask_embed[4].weight.zero_()
            model.mask_embed[4].bias.fill_(-1)
    with torch.no_grad():
        predictions = model(mask_features, scales)
        assert len(predictions) == 1 + layers
        for sample in range(2):
            expected, nothing_left = reference(model, mask_features[sample], [scale[sample] for scale in scales])
            assert nothing_left == (queries * layers if empty else 0)
            for prediction, (masks, classes) in zip(predictions, expected, strict=True):
                torch.testing.assert_close(prediction.masks[sample], masks)
                torch.testing.assert_close(prediction.classes[sample], classes)


def test_masks_that_hide_carry_no_gradient():
    """The attention mask is a decision, not a function: what was predicted before is not trained through it."""
    model = QueryDecoder(WIDTH, 1, 1, HEADS, 12)
    mask_features, scales = (inputs()[0].float(), [scale.float() for scale in inputs()[1]])
    mask_features.requires_grad_()
    query = model(mask_features, scales)[1].classes.sum()
    (gradient,) = torch.autograd.grad(query, mask_features, allow_unused=True)
    assert gradient is None
