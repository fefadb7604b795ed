"""Backbones of mmseg and mmpretrain, split into stages: their maps, and what cannot be split."""

import copy
import importlib.util

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmmagnet.models.backbones import StagedBackbone, StagedSwin, build_image_encoder
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError

ALL = (0, 1, 2, 3)
FOUR = dict(depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), embed_dims=8)
TWINS = dict(
    embed_dims=[8, 16, 24, 32],
    num_heads=[1, 1, 1, 1],
    patch_sizes=[4, 2, 2, 2],
    strides=[4, 2, 2, 2],
    mlp_ratios=[2, 2, 2, 2],
    depths=[1, 1, 1, 1],
    out_indices=ALL,
)
TWINS_SVT = {**TWINS, 'windiow_sizes': [7, 7, 7, 7]}  # as mmseg spells it
CONVNEXT = dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 2, 1], channels=[8, 16, 24, 32]))
MAPS = dict(out_indices=ALL, gap_before_final_norm=False)
RESNET = dict(depth=18, base_channels=8, stem_channels=8)

SPLIT = {
    'ResNet': dict(type='ResNet', **RESNET),
    'ResNet, frozen': dict(type='ResNet', frozen_stages=1, norm_eval=True, **RESNET),
    'ResNetV1c': dict(type='ResNetV1c', **RESNET),
    'ResNetV1c, dilated': dict(
        type='ResNetV1c', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), contract_dilation=True, **RESNET
    ),
    'Swin': dict(type='SwinTransformer', window_size=4, **FOUR),
    'MiT': dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1, 1, 1, 1], num_heads=[1, 1, 2, 4]),
    'MSCAN': dict(type='MSCAN', embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], norm_cfg=dict(type='BN')),
    'PCPVT': dict(type='PCPVT', sr_ratios=[8, 4, 2, 1], **TWINS),
    'SVT': dict(type='SVT', sr_ratios=[4, 2, 1, 1], norm_after_stage=True, **TWINS_SVT),
    'MobileNetV2': dict(type='MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6)),
    'ConvNeXt of mmpretrain': {**CONVNEXT, **MAPS},
    'ResNet of mmpretrain': dict(type='mmpretrain.ResNet', out_indices=ALL, depth=18, base_channels=8),
    'Swin of mmpretrain': dict(
        type='mmpretrain.SwinTransformer', arch=FOUR, out_indices=ALL, window_size=4, pad_small_map=True
    ),
    'VAN of mmpretrain': dict(
        type='mmpretrain.VAN',
        arch=dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], ffn_ratios=[2, 2, 2, 2]),
        out_indices=ALL,
    ),
    'PoolFormer of mmpretrain': dict(
        type='mmpretrain.PoolFormer',
        arch=dict(
            layers=[1, 1, 1, 1],
            embed_dims=[8, 16, 24, 32],
            mlp_ratios=[2, 2, 2, 2],
            layer_scale_init_value=1e-5,
        ),
        out_indices=(0, 2, 4, 6),
    ),
}
# their outputs are norms of what goes on
NORMED = ('Swin', 'ConvNeXt of mmpretrain', 'Swin of mmpretrain', 'PoolFormer of mmpretrain')


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmseg')


def run(encoder, inputs):
    """The maps of an encoder, under a neck that changes nothing."""
    maps, image = [], encoder.stem(inputs)
    for stage in range(encoder.num_stages):
        image = encoder.forward_stage(stage, image)
        maps.append(image)
        image = encoder.downsample(stage, image)
    return maps


def make(name):
    if SPLIT[name]['type'].startswith('mmpretrain'):
        pytest.importorskip('mmpretrain.models')
    return copy.deepcopy(SPLIT[name])


@pytest.mark.parametrize('name', SPLIT)
def test_maps_are_the_backbones_own(name):
    """Its outputs, or what its output norms take; also on sides that no stride divides."""
    config, normed = make(name), name in NORMED
    encoder = StagedBackbone(config)
    encoder.eval()
    own = MODELS.build(config)
    own.eval()
    missing, unexpected = own.load_state_dict(encoder.body.state_dict(), strict=False)
    assert not unexpected
    assert bool(missing) == normed
    assert all(name.startswith('norm') for name in missing)
    taken = {}
    for part, module in own.named_children():
        if normed and part.startswith('norm'):
            module.register_forward_pre_hook(lambda module, args, part=part: taken.update({part: args[0]}))
    for size in ((64, 64), (75, 130)):
        inputs = torch.randn(2, 3, *size)
        with torch.no_grad():
            outputs = own(inputs)
            expected = [taken[part] for part in sorted(taken)] if normed else outputs
            for image, output in zip(run(encoder, inputs), expected, strict=True):
                image = image.flatten(1, 2) if output.ndim == 3 else image.permute(0, 3, 1, 2)
                torch.testing.assert_close(image, output, rtol=1e-4, atol=1e-5)
    assert encoder.out_channels == tuple(output.shape[1] for output in outputs)
    assert encoder.num_stages == 4


@pytest.mark.parametrize('name', SPLIT)
def test_every_weight_learns(name):
    """Each free parameter has a gradient, or DDP stops; what a stage is handed is what it continues from."""
    encoder = StagedBackbone(make(name))
    assert encoder.training
    inputs = torch.randn(2, 3, 64, 64)
    sum(image.sum() for image in run(encoder, inputs)).backward()
    free = [
        name for name, parameter in encoder.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert free == []
    encoder.eval()
    with torch.no_grad():
        first = encoder.forward_stage(0, encoder.stem(inputs))
        again = encoder.forward_stage(1, encoder.downsample(0, first + torch.randn_like(first)))
        assert not again.allclose(encoder.forward_stage(1, encoder.downsample(0, first)))


def test_size_is_reached_before_the_stage():
    encoder = StagedBackbone(SPLIT['MiT']).eval()
    image = encoder.stem(torch.randn(1, 3, 64, 96))
    assert image.shape == (1, 16, 24, 8)
    assert encoder.forward_stage(0, image).shape == (1, 16, 24, 8)
    assert encoder.downsample(0, image).shape == (1, 8, 12, 8)
    assert encoder.downsample(3, image) is image


def test_weights_come_by_the_backbones_own_init_cfg(tmp_path):
    config = dict(type='ResNet', **RESNET)
    source = MODELS.build(config)
    torch.save({f'backbone.{name}': value for name, value in source.state_dict().items()}, tmp_path / 'weights.pth')
    init = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'), prefix='backbone.')
    encoder = StagedBackbone({**config, 'init_cfg': init})
    encoder.init_weights()
    assert all(encoder.body.state_dict()[name].equal(value) for name, value in source.state_dict().items())


def test_copies_and_other_devices():
    """A copy (of an averaging hook, say) runs on its own weights; building without memory gives the same names."""
    encoder = StagedBackbone(SPLIT['Swin']).eval()
    twin = copy.deepcopy(encoder)
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = run(encoder, inputs)[-1]
        for parameter in encoder.parameters():
            parameter.zero_()
        torch.testing.assert_close(run(twin, inputs)[-1], before)
    with torch.device('meta'):
        empty = build_image_encoder(SPLIT['Swin'])
    assert {parameter.device.type for parameter in empty.parameters()} == {'meta'}
    assert empty.state_dict().keys() == encoder.state_dict().keys()


@pytest.mark.parametrize(
    ('config', 'kind'),
    [
        (dict(type='StagedSwin', embed_dims=8, depths=(1,), num_heads=(1,)), StagedSwin),
        (SPLIT['MiT'], StagedBackbone),
    ],
)
def test_a_staged_encoder_is_left_as_it_is(config, kind):
    assert type(build_image_encoder(config)) is kind


class Outside(nn.Module):
    """Base of backbones that do something between their modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 4, 4)
        self.second = nn.Conv2d(4, 4, 2, 2)
        self.shift = nn.Parameter(torch.zeros(1, 4, 1, 1), requires_grad=False)


class Shifted(Outside):
    """Adds a parameter, zero at first, so that its values alone do not betray it."""

    def forward(self, inputs):
        first = self.first(inputs)
        return first, self.second(first + self.shift)


class Activated(Outside):
    def forward(self, inputs):
        first = self.first(inputs)
        return first, self.second(first.relu())


class Parallel(Outside):
    def forward(self, inputs):
        return self.first(inputs).relu(), self.second(self.first(inputs))


class Upright(Outside):
    """Does something of its own to upright images only."""

    def forward(self, inputs):
        first = self.first(inputs)
        return first, self.second(first if inputs.shape[2] < inputs.shape[3] else 2 * first)


class Normed(nn.Module):
    """The first output is a norm of what goes on; the last is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, inputs):
        first = self.first(inputs)
        return self.norm(first), self.second(first)


def test_only_norms_are_left_out():
    encoder = StagedBackbone(dict(type=Normed))
    inputs = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        run(encoder, inputs)[1].permute(0, 3, 1, 2), encoder.body.second(encoder.body.first(inputs))
    )
    assert isinstance(encoder.body.norm, nn.Identity)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type=Shifted), 'its parameter shift acts between modules'),
        (
            dict(type=Activated),
            'Activated cannot be split into stages: what second takes is not one map given by',
        ),
        (dict(type=Parallel), 'Parallel cannot be split into stages: output 0 is not on the path to output 1'),
        (dict(type=Upright), 'Upright cannot be split into stages: its modules alone do not give output 1'),
        (
            dict(type='VisionTransformer', img_size=(64, 96), embed_dims=8, num_layers=4, num_heads=2, out_indices=ALL),
            'VisionTransformer cannot be split into stages: its last output is not one map',
        ),
        (
            dict(type='SwinTransformer', use_abs_pos_embed=True, window_size=4, pretrain_img_size=32, **FOUR),
            'SwinTransformer cannot be split into stages: it does not take images of every size .*must match',
        ),
        (dict(type='ResNet', out_indices=(3,), **RESNET), r'ResNet gives one map: set its out_indices=\(0, 1, 2, 3\)'),
        (dict(type='NoSuchNet'), "backbone 'NoSuchNet' is not registered: name its package in custom_imports"),
        (dict(type='nosuchpackage.Net'), r"backbone 'nosuchpackage.Net': No module named .*; pip install onedl-nosuch"),
        (dict(type='mmseg.NoSuchNet'), "backbone 'mmseg.NoSuchNet': mmseg has no model of that name"),
    ],
)
def test_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        build_image_encoder(config)


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({}, 'ConvNeXt gives one map: set its out_indices'),
        (dict(out_indices=ALL), r'ConvNeXt: output 0 is \(1, 8\) instead of a map .*gap_before_final_norm=False'),
    ],
)
def test_classifiers_of_mmpretrain(changed, message):
    pytest.importorskip('mmpretrain.models')
    with pytest.raises(ConfigError, match=message):
        build_image_encoder({**CONVNEXT, **changed})


@pytest.mark.skipif(importlib.util.find_spec('mmpretrain') is not None, reason='mmpretrain is installed')
def test_mmpretrain_is_named_where_it_is_missing():
    with pytest.raises(ConfigError, match=r'No module named .mmpretrain.; pip install onedl-mmpretrain'):
        build_image_encoder({**CONVNEXT, **MAPS})
