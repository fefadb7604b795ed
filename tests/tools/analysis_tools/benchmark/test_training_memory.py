"""Computed memory of a training step against the memory of one that runs."""

import copy

import pytest
import torch
from activation_memory import activation_bytes
from measurements import count_gflops
from mmengine.config import ConfigDict
from steps import TrainingStep, make_batch
from training_memory import training_memory

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError

WITHOUT_TEXT = dict(
    type='EncoderDecoder',
    backbone=dict(type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, init_cfg=None),
    decode_head=dict(
        type='FCNHead',
        in_channels=64,
        channels=8,
        num_classes=2,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss'),
    ),
    train_cfg={},
    test_cfg=dict(mode='whole'),
)


def adamw(model):
    return torch.optim.AdamW(model.parameters())


def test_as_counted(tiny_config):
    tiny_config['auxiliary_head'][0]['extra_masked_pass'] = True
    for part in ('backbone', 'text_encoder', 'neck', 'decode_head'):
        tiny_config[part]['with_cp'] = True
    model = MODELS.build(tiny_config)
    torch.manual_seed(0)
    found = training_memory(copy.deepcopy(model), adamw, 2, (64, 64), 6, expressions=2)
    torch.manual_seed(0)
    step = TrainingStep(model, None, *make_batch(model, 2, (64, 64), 6, 'cpu', expressions=2))
    counted = activation_bytes(model, step.forward_backward, 'cpu')
    assert found.activation_mb * 2**20 == pytest.approx(counted, rel=0.02)
    elements = sum(weight.numel() for weight in model.parameters())
    assert found.parameters == elements
    assert found.gflops == pytest.approx(count_gflops(step.forward_backward), rel=1e-3)  # other words are masked
    assert found.state_mb * 2**20 == pytest.approx(16 * elements, rel=0.01)


def test_operations_that_depend_on_values():
    model = MODELS.build(ConfigDict(copy.deepcopy(WITHOUT_TEXT)))
    with pytest.raises(ConfigError, match=r'EncoderDecoder.*nonzero.*--mode train'):
        training_memory(model, adamw, 2, (64, 64), 6)
