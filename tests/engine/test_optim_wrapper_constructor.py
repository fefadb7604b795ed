"""Grouped weights: the same settings and the same step as MMEngine's group for each weight."""

import copy

import pytest
import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmmagnet.engine.optim_wrapper_constructor import GroupingOptimWrapperConstructor
from mmmagnet.utils.errors import ConfigError

PARAMWISE = [
    (dict(norm_decay_mult=0.0, bias_decay_mult=0.0), 2),
    (dict(norm_decay_mult=0.0, custom_keys={'head': dict(lr_mult=0.1), 'body.0': dict(lr_mult=0.1)}), 3),
    (dict(custom_keys={'tail': dict(lr_mult=0.1)}), 1),
    (None, 1),
]


class Network(nn.Module):
    """Two parts and a norm."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(self.body(inputs))


@pytest.mark.parametrize(('paramwise', 'groups'), PARAMWISE)
def test_equals_a_group_for_each_weight(paramwise, groups):
    torch.manual_seed(0)
    ours = Network()
    theirs = copy.deepcopy(ours)
    inputs, settings = torch.randn(5, 3), []
    for network, constructor, fused in (
        (ours, GroupingOptimWrapperConstructor, True),
        (theirs, DefaultOptimWrapperConstructor, False),
    ):
        optimizer = dict(type='AdamW', lr=0.01, weight_decay=0.1, fused=fused)
        wrapper = constructor(dict(optimizer=optimizer), copy.deepcopy(paramwise))(network)
        for _ in range(3):
            wrapper.update_params(network(inputs).square().sum())
        names = {weight: name for name, weight in network.named_parameters()}
        found = wrapper.optimizer.param_groups
        if fused:
            assert len(found) == groups
        assert sum(len(group['params']) for group in found) == len(names)
        settings.append({names[w]: (group['lr'], group['weight_decay']) for group in found for w in group['params']})
    assert settings[0] == settings[1]
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own, other)


def test_a_shared_weight():
    network = Network()
    network.tail = nn.Linear(4, 2)
    network.tail.weight = network.head.weight
    settings = dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1))
    with pytest.raises(ValueError, match='bypass_duplicate=True'):
        GroupingOptimWrapperConstructor(settings, dict(norm_decay_mult=0.0))(network)
    wrapper = GroupingOptimWrapperConstructor(settings, dict(norm_decay_mult=0.0, bypass_duplicate=True))(network)
    assert sum(len(group['params']) for group in wrapper.optimizer.param_groups) == len(list(network.parameters()))


def test_settings_that_are_lists():
    paramwise = dict(custom_keys={'head': dict(betas=[0.5, 0.9])})
    wrapper = GroupingOptimWrapperConstructor(dict(optimizer=dict(type='AdamW', lr=0.01)), paramwise)(Network())
    assert [tuple(group['betas']) for group in wrapper.optimizer.param_groups] == [(0.9, 0.999), (0.5, 0.9)]


def test_a_decay_that_is_multiplied_is_stated():
    optimizer = dict(type='SGD', lr=0.01)
    for settings, paramwise in ((dict(weight_decay=0.0), PARAMWISE[0][0]), ({}, PARAMWISE[2][0]), ({}, None)):
        GroupingOptimWrapperConstructor(dict(optimizer={**optimizer, **settings}), copy.deepcopy(paramwise))(Network())
    with pytest.raises(ConfigError, match='no weight_decay, which paramwise_cfg multiplies'):
        GroupingOptimWrapperConstructor(dict(optimizer=optimizer), PARAMWISE[0][0])
