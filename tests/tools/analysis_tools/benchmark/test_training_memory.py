"""Computed memory of a training step against the memory of one that runs."""

import copy
from contextlib import nullcontext

import pytest
import torch
from activation_memory import activation_bytes
from measurements import count_gflops
from mmengine.config import ConfigDict
from steps import TrainingStep, make_batch
from training_memory import casts_of_gpus, training_memory

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


def test_types_of_gpus():
    """Results of norms and softmax are fp32 where autocast is on, those of products and GELU are not."""
    layers = [torch.nn.LayerNorm(8), torch.nn.GroupNorm(2, 8), torch.nn.Softmax(-1), torch.nn.GELU(), torch.nn.ReLU()]
    with casts_of_gpus():
        with torch.autocast('cpu', torch.bfloat16):
            made = torch.nn.Linear(8, 8)(torch.randn(4, 8))
            found = [made.dtype, *(layer(made).dtype for layer in layers), made.sum().dtype, (made**2).dtype]
        unchanged = made.softmax(-1).dtype
    with torch.autocast('cpu', torch.bfloat16):
        assert made.softmax(-1).dtype == torch.bfloat16
    assert found == [torch.bfloat16, *[torch.float32] * 3, *[torch.bfloat16] * 2, *[torch.float32] * 2]
    assert unchanged == torch.bfloat16


def test_bf16_has_the_types_of_gpus(tiny_config, monkeypatch):
    tiny_config['decode_head']['with_cp'] = True
    model = MODELS.build(tiny_config)
    memory = []
    for casts in (casts_of_gpus, nullcontext):
        monkeypatch.setattr('training_memory.casts_of_gpus', casts)
        memory.append(training_memory(copy.deepcopy(model), adamw, 2, (64, 64), 6, 'bf16').activation_mb)
    assert memory[0] > 1.02 * memory[1]
