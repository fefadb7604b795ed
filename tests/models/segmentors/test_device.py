"""Every network trains and predicts on another device than the CPU: no tensor is left behind.

The device is a stand-in: tensors without values on `meta`. An operation that mixes them with tensors of the CPU fails.
"""

from contextlib import contextmanager

import pytest
import torch
from networks import build_small, network_names, small_batch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

import mmmagnet.models.layers.deformable_attention as deformable_attention
import mmmagnet.models.layers.positions as positions
import mmmagnet.models.layers.window_attention as window_attention
import mmmagnet.models.text_encoders.staged_clip_text as staged_clip_text

DEVICE = torch.device('meta')
# what autocast runs in half precision, and in fp32
NARROW = {
    F.linear,
    F.conv1d,
    F.conv2d,
    F.multi_head_attention_forward,
    F.scaled_dot_product_attention,
    Tensor.__matmul__,
    Tensor.matmul,
    torch.bmm,
    torch.einsum,
    torch.matmul,
}
WIDE = {
    F.binary_cross_entropy_with_logits,
    F.cross_entropy,
    F.group_norm,
    F.layer_norm,
    F.softplus,
    Tensor.logsumexp,
    Tensor.rsqrt,
    Tensor.softmax,
    Tensor.sum,
}


class Autocast(TorchFunctionMode):
    """`torch.autocast` for a device that it does not support."""

    def __init__(self):
        super().__init__()
        self.dtypes = [None]  # that of each context, innermost last

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, dtype = kwargs or {}, self.dtypes[-1]
        if dtype is not None and func in NARROW | WIDE:
            dtype = dtype if func in NARROW else torch.float32
            args, kwargs = tree_map_only(
                Tensor, lambda value: value.to(dtype) if value.is_floating_point() else value, (args, kwargs)
            )
        return func(*args, **kwargs)

    @contextmanager
    def context(self, device_type, dtype=None, enabled=True):
        self.dtypes.append(dtype if enabled else None)
        try:
            yield
        finally:
            self.dtypes.pop()


@pytest.fixture(autouse=True)
def _no_kept_tensors():
    """Layers keep tensors for a shape and a device; those of another test are of another mode."""
    kept = [
        value
        for module in (deformable_attention, positions, window_attention, staged_clip_text)
        for value in vars(module).values()
        if hasattr(value, 'cache_clear')
    ]
    assert len(kept) >= 6
    for value in kept:
        value.cache_clear()
    yield
    for value in kept:
        value.cache_clear()


def move(mode, value):
    """A tensor of the same shape on the device."""
    with mode:
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)


def move_network(mode, model):
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = torch.nn.Parameter(move(mode, weight.data), weight.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = move(mode, value)


def move_batch(mode, data):
    for sample in data['data_samples']:
        if 'input_ids' in sample:
            sample.set_data({name: move(mode, sample.get(name)) for name in ('input_ids', 'word_mask')})
        sample.gt_sem_seg.data = move(mode, sample.gt_sem_seg.data)
    return move(mode, data['inputs']), data['data_samples']


QUICK = ('lavt_swin_b.py', 'magnet_swin_b_grefcoco.py')
NAMES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in network_names()]


@pytest.mark.parametrize('dtype', [None, torch.bfloat16], ids=['fp32', 'bf16'])
@pytest.mark.parametrize('name', NAMES)
def test_network(name, dtype, monkeypatch):
    torch.manual_seed(0)
    model = build_small(name)
    if dtype is not None:  # the stand-in for autocast does not reach what activation checkpointing runs again
        model.apply(lambda module: setattr(module, 'with_cp', False))
    mode, autocast = FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()), Autocast()
    monkeypatch.setattr(torch, 'autocast', autocast.context)
    inputs, samples = move_batch(mode, model.data_preprocessor(small_batch(), True))
    move_network(mode, model)
    with mode, autocast, autocast.context(DEVICE.type, dtype, dtype is not None):
        losses = model.train().loss(inputs, samples)
        total, _ = model.parse_losses(losses)
        total.backward()
        with torch.no_grad():
            results = model.eval().predict(inputs, samples)
    assert {value.device for value in losses.values()} == {DEVICE}
    assert all(weight.grad.device == DEVICE for weight in model.parameters() if weight.requires_grad)
    assert all(sample.pred_sem_seg.data.device == DEVICE for sample in results)
