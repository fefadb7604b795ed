"""The network under autocast, and in another memory layout: losses stay in fp32, masks stay what they are."""

import pytest
import torch

from mmmagnet.registry import MODELS

LAVT = dict(
    neck=dict(
        type='CrossModalAlignmentModule', pool_sizes=(), bidirectional=False, norm='instance', gate_activation='relu'
    ),
    decode_head=dict(type='LAVTHead', feat_channels=32, loss_decode=dict(type='CEDiceLoss', dice_weight=1.0)),
)
NETWORKS = pytest.mark.parametrize('changes', [{}, LAVT], ids=['magnet', 'lavt'])


def build(config, changes):
    torch.manual_seed(0)
    return MODELS.build({**config, **changes})


def losses_of(model, batch, dtype):
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype or torch.bfloat16, enabled=dtype is not None):
        return model.loss(*batch)


@NETWORKS
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_losses(dtype, changes, tiny_config, tiny_batch):
    tiny_config['auxiliary_head'][1] = dict(
        type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=32)
    )
    model = build(tiny_config, changes).train()
    expected = losses_of(model, tiny_batch(), None)
    found = losses_of(model, tiny_batch(), dtype)
    for name, value in expected.items():
        if 'loss' in name:
            assert found[name].dtype == torch.float32, name
            torch.testing.assert_close(found[name], value, rtol=0.05, atol=0.01, msg=name)
    sum(value for name, value in found.items() if 'loss' in name).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@NETWORKS
def test_prediction(changes, tiny_config, tiny_batch):
    model = build(tiny_config, changes).eval()
    with torch.no_grad():
        expected = model.encode_decode(*tiny_batch())
        with torch.autocast('cpu', torch.bfloat16):
            found = model.encode_decode(*tiny_batch())
            results = model.predict(*tiny_batch())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05 * expected.abs().max().item())
    assert all(sample.pred_sem_seg.data.dtype == torch.uint8 for sample in results)


@NETWORKS
def test_channels_last(changes, tiny_config, tiny_batch):
    model = build(tiny_config, changes)
    inputs, samples = tiny_batch()
    expected = losses_of(model, (inputs, samples), None)
    found = losses_of(
        model.to(memory_format=torch.channels_last), (inputs.to(memory_format=torch.channels_last), samples), None
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=name)
