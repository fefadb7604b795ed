"""`torch.compile` of the encoders and their alignment modules: one graph, the same numbers."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmmagnet.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:Dynamo detected a call to a `functools.lru_cache`')


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize('name', ['backbone', 'text_encoder'])
def test_a_stage_of_an_encoder(name, tiny_config):
    """Forward and backward pass as one graph each, shifted windows and activation checkpointing included."""
    tiny_config['backbone'].update(depths=(2,), num_heads=(1,), with_cp=True)
    tiny_config['text_encoder'].update(stage_ends=(1,), with_cp=True)
    encoder = MODELS.build(tiny_config[name])
    inputs = (torch.randn(1, 8, 8, 32),) if name == 'backbone' else (torch.randn(2, 6, 32), torch.ones(2, 6))
    stage = torch.compile(encoder.forward_stage, backend='aot_eager', fullgraph=True)
    gradients = []
    for call in (encoder.forward_stage, stage):
        encoder.zero_grad()
        call(0, *inputs).square().sum().backward()
        gradients.append([weight.grad for weight in encoder.parameters() if weight.grad is not None])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-4)


def build(config, options):
    torch.manual_seed(0)
    return MODELS.build({**config, 'data_preprocessor': dict(type='ReferringPreProcessor'), 'compile': options})


def test_two_iterations_of_training(tiny_config, tiny_batch):
    """By MMEngine's entry; traced whole, but not compiled to machine code."""
    tiny_config['backbone'].update(depths=(1, 1, 1), num_heads=(1, 2, 4))
    tiny_config['text_encoder'].update(stage_ends=(1, 1, 1))
    tiny_config['neck'].update(pool_sizes=(1,))
    losses, names = [], []
    for options in (None, dict(backend='eager', fullgraph=True)):
        model = build(tiny_config, options)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
        inputs, samples = tiny_batch()
        torch.manual_seed(1)
        data = {'inputs': list(inputs), 'data_samples': samples}
        losses.append(torch.stack([model.train_step(data, wrapper)['loss'].detach() for _ in range(2)]))
        names.append(model.state_dict().keys())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-3)
    assert names[0] == names[1]


def test_a_copy_runs_with_its_own_weights(tiny_config, tiny_batch, monkeypatch):
    """As hooks of MMEngine make them (EMA)."""
    monkeypatch.setattr(torch, 'compile', lambda function: function)
    model = build(tiny_config, {}).eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.backbone.patch_embed.proj.weight.zero_()
        assert not twin.encode_decode(*tiny_batch()).allclose(model.encode_decode(*tiny_batch()))
