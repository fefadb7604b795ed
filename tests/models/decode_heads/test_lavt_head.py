"""LAVT's decoder against its definition, and as a decode head of a segmentor."""

import pytest
import torch
import torch.nn.functional as F

from mmmagnet.models.decode_heads import LAVTHead
from mmmagnet.registry import MODELS

CHANNELS = (4, 8, 16, 32)


def maps(batch=2, size=(12, 18)):
    generator = torch.Generator().manual_seed(2)
    sizes = [(-(-size[0] // step), -(-size[1] // step)) for step in (1, 2, 4, 8)]
    return [torch.randn(batch, width, *one, generator=generator) for width, one in zip(CHANNELS, sizes, strict=True)]


def by_definition(head, inputs):
    """Upsample, concatenate, two convolutions with BatchNorm and ReLU, from stage 4 down."""
    decoded = inputs[3]
    for index, finer in enumerate((inputs[2], inputs[1], inputs[0])):
        decoded = F.interpolate(decoded, finer.shape[2:], mode='bilinear', align_corners=True)
        decoded = torch.cat([decoded, finer], dim=1)
        for block in head.scales[index]:
            decoded = F.conv2d(decoded, block.conv.weight, padding=1)
            norm = block.bn
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            decoded = decoded * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]
            decoded = decoded.clamp(min=0)
    return F.conv2d(decoded, head.classify.weight, head.classify.bias)


@pytest.mark.parametrize('size', [(12, 18), (8, 8), (5, 7)])
def test_definition(size):
    head = LAVTHead(CHANNELS).eval()
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight)
            torch.nn.init.uniform_(module.bias)
    inputs = maps(size=size)
    with torch.no_grad():
        decoded = head(inputs)
        torch.testing.assert_close(decoded.logits, by_definition(head, inputs), rtol=1e-4, atol=1e-5)
    assert decoded.logits.shape == (2, 2, *size)
    assert decoded.mask_features.shape == (2, head.feat_channels, *size) == (2, 16, *size)


def test_in_a_segmentor(tiny_config, tiny_batch):
    """One-way fusion with the whole text encoder first; every weight gets a gradient, with and without other heads."""
    config = {
        **tiny_config,
        'neck': dict(
            type='CrossModalAlignmentModule',
            pool_sizes=(),
            bidirectional=False,
            norm='instance',
            gate_activation='relu',
        ),
        'decode_head': dict(type='LAVTHead'),
    }
    config['text_encoder']['stage_ends'] = (4, 4, 4, 4)
    inputs, samples = tiny_batch()
    for heads in ([], config['auxiliary_head']):
        model = MODELS.build({**config, 'auxiliary_head': heads})
        losses = model.loss(inputs, samples)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        assert all(value.isfinite() for value in losses.values())
        assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []
        model.eval()
        with torch.no_grad():
            logits = model.encode_decode(inputs, samples)
            two = model.decode_head(model._features_of(inputs, samples)).logits
        two = F.interpolate(two, (64, 64), mode='bilinear', align_corners=True)
        torch.testing.assert_close(logits, two[:, 1:] - two[:, :1])
