"""Computed memory of a training step against the memory of one that runs."""

import copy
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from activation_memory import activation_bytes
from measurements import count_gflops
from mmengine.config import ConfigDict
from steps import TrainingStep, make_batch
from torch._subclasses.fake_tensor import FakeTensorMode
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


@pytest.mark.slow
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
    """What autocast leaves in half precision on GPUs, and what it does not. Nothing changes without it, or later."""
    half = [F.gelu, F.relu, lambda x: F.avg_pool2d(x, 2), lambda x: x.sum(1, dtype=torch.bfloat16), lambda x: x @ x]
    single = [
        lambda x: F.layer_norm(x, (8,)),
        lambda x: F.group_norm(x, 2),
        lambda x: x.softmax(1),
        lambda x: F.softmax(x, -1),
        lambda x: x.sum(),
        lambda x: x.sum((2, 3)),
        lambda x: x.prod(),
        lambda x: x.norm(dim=1),
        lambda x: F.normalize(x, dim=1),
        lambda x: x.logsumexp(1),
        lambda x: x**2,
        lambda x: F.interpolate(x, scale_factor=2, mode='bilinear'),
        lambda x: F.interpolate(x, size=(3, 3)),
    ]
    x = torch.rand(2, 4, 8, 8, dtype=torch.bfloat16)
    with casts_of_gpus():
        plain = [make(x).dtype for make in (*half, *single)]
        with torch.autocast('cpu', torch.bfloat16):
            found = [make(x) for make in (*half, *single)]
            whole = x.to(torch.int64).sum()
    assert [value.dtype for value in found] == [torch.bfloat16] * len(half) + [torch.float32] * len(single)
    for value, make in zip(found, (*half, *single), strict=True):
        assert torch.allclose(value.float(), make(x.float()).float(), atol=0.1, rtol=0.02)
    assert plain == [torch.bfloat16] * len(plain) and whole.dtype == torch.int64
    with casts_of_gpus(), FakeTensorMode() as mode, torch.autocast('cpu', torch.bfloat16):
        shapes = mode.from_tensor(x)
        assert [make(shapes).dtype for make in (*half, *single)] == [value.dtype for value in found]
    with torch.autocast('cpu', torch.bfloat16):
        assert x.softmax(-1).dtype == F.interpolate(x, size=(3, 3)).dtype == torch.bfloat16


@pytest.mark.slow
def test_bf16_has_the_types_of_gpus(tiny_config, monkeypatch):
    tiny_config['decode_head']['with_cp'] = True
    model = MODELS.build(tiny_config)
    memory = []
    for casts in (casts_of_gpus, nullcontext):
        monkeypatch.setattr('training_memory.casts_of_gpus', casts)
        memory.append(training_memory(copy.deepcopy(model), adamw, 2, (64, 64), 6, 'bf16').activation_mb)
    assert memory[0] > 1.02 * memory[1]
