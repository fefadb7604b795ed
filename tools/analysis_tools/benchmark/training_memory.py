"""Memory and operations of a training step, computed without running it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from activation_memory import activation_bytes
from measurements import PRECISIONS, count_gflops
from mmseg.structures import SegDataSample
from steps import TrainingStep, make_batch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.library import Library
from torch.utils._pytree import tree_map

from mmmagnet.utils.errors import ConfigError

# What autocast casts to fp32 on GPUs but not on CPUs: AT_FORALL_FP32 and its neighbours in ATen/autocast_mode.h.
_FP32_ON_GPUS = """
    acos asin cosh dist erfinv exp expm1 frobenius_norm.dim group_norm layer_norm log log10 log1p log2 logsumexp
    native_layer_norm norm.Scalar norm.ScalarOpt_dim nuclear_norm nuclear_norm.dim pdist pow.Scalar pow.Tensor_Scalar
    pow.Tensor_Tensor reciprocal renorm rms_norm rsqrt sinh softplus tan cosine_similarity
    upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
    _upsample_bilinear2d_aa _upsample_bicubic2d_aa
"""

# Those whose result alone becomes fp32.
_FP32_RESULTS_ON_GPUS = """
    cumprod cumsum linalg_matrix_norm linalg_matrix_norm.str_ord linalg_vector_norm log_softmax.int softmax.int sum
    sum.dim_IntList
"""


@contextmanager
def casts_of_gpus() -> Iterator[None]:
    """Let the CPU's autocast cast to fp32 what autocast casts on GPUs.

    Example:
        >>> with casts_of_gpus(), torch.autocast('cpu', torch.bfloat16):
        ...     torch.ones(2, dtype=torch.bfloat16).softmax(0).dtype
        torch.float32
    """
    library = Library('aten', 'IMPL')
    for names, cast in ((_FP32_ON_GPUS, _on_fp32), (_FP32_RESULTS_ON_GPUS, _to_fp32)):
        for name in names.split():
            operation, _, overload = name.partition('.')
            library.impl(name, cast(getattr(getattr(torch.ops.aten, operation), overload or 'default')), 'AutocastCPU')
    try:
        yield
    finally:
        library._destroy()


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)


def _on_fp32(operation: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        given = tree_map(lambda value: value.float() if _is_half(value) else value, (args, kwargs))
        with torch.autocast('cpu', enabled=False):
            return operation(*given[0], **given[1])

    return call


def _to_fp32(operation: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        typed = any(isinstance(value, torch.dtype) for value in (*args, *kwargs.values()))
        if _is_half(args[0]) and not typed:
            kwargs['dtype'] = torch.float32
        with torch.autocast('cpu', enabled=False):
            return operation(*args, **kwargs)

    return call


@dataclass(frozen=True)
class TrainingMemory:
    """Memory and operations of a training step.

    Attributes:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        batch: Number of images B.
        expressions: Number of expressions of each image.
        size: H and W of the input in pixels.
        tokens: Number of words L.
        parameters: Number of weights, auxiliary heads included.
        gflops: Operations of both passes, 1e9, as in `Benchmark`.
        state_mb: Weights, gradients and the optimizer's state, 2**20 bytes, whatever the batch.
        activation_mb: Peak memory of both passes on top of it, 2**20 bytes (`activation_bytes`).
    """

    precision: str
    batch: int
    expressions: int
    size: tuple[int, int]
    tokens: int
    parameters: int
    gflops: float
    state_mb: float
    activation_mb: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {'mode': 'memory', **asdict(self), 'size': list(self.size)}


def training_memory(
    model: Any,
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    batch: int,
    size: tuple[int, int],
    tokens: int,
    precision: str = 'fp32',
    expressions: int = 1,
) -> TrainingMemory:
    """Memory and operations of a training step whose tensors have shapes only (PyTorch's `FakeTensorMode`).

    The step need not fit into this machine. Its operations are those of a CPU, its types those of a GPU.

    Args:
        model: Segmentor on the CPU. It is unusable afterwards, as its weights keep only their shapes.
        make_optimizer: Function that makes an optimizer of the model.
        batch: Number of images B.
        size: H and W of the input in pixels.
        tokens: Number of words L, all of them real.
        precision: Type of autocast; ``fp32`` for none.
        expressions: Number of expressions of each image, which share what no text reaches.

    Returns:
        Memory and operations of the step.

    Raises:
        ConfigError: If the shape of a result depends on values, as in mmseg's `CrossEntropyLoss`.
    """
    dtype = PRECISIONS[precision]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    inputs, samples = make_batch(model, batch, size, tokens, 'cpu', expressions)
    _mask_words_beforehand(model, samples, mode)
    samples = [_shapes_of_sample(sample, mode) for sample in samples]
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(mode.from_tensor(weight.data), weight.requires_grad)
        for name, values in module._buffers.items():
            if values is not None:
                module._buffers[name] = mode.from_tensor(values)
    try:
        with mode:
            optimizer = make_optimizer(model)
            step = TrainingStep(model, optimizer, mode.from_tensor(inputs), samples)
            with torch.autocast('cpu', dtype, enabled=dtype != torch.float32), casts_of_gpus():
                activations = activation_bytes(model, step.forward_backward, 'cpu')
                gflops = count_gflops(step.forward_backward)
            optimizer.step()
    except DynamicOutputShapeException as error:
        raise ConfigError(
            f'{type(model).__name__}: the shape of what {error.func} makes depends on values, so its memory cannot be '
            'computed; measure it with --mode train'
        ) from error
    finally:
        _forget_cached_tensors()
    weights = list(model.parameters())
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    averages = [value for kept in optimizer.state.values() for value in kept.values() if isinstance(value, Tensor)]
    state = sum(tensor.untyped_storage().nbytes() for tensor in (*weights, *gradients, *averages))
    return TrainingMemory(
        precision=precision,
        batch=batch,
        expressions=expressions,
        size=size,
        tokens=tokens,
        parameters=sum(weight.numel() for weight in weights),
        gflops=gflops,
        state_mb=state / 2**20,
        activation_mb=activations / 2**20,
    )


def _mask_words_beforehand(model: Any, samples: list[SegDataSample], mode: FakeTensorMode) -> None:
    """Let heads mask words that are chosen now, as their number depends on values."""
    for head in getattr(model, 'auxiliary_head', None) or ():
        if hasattr(head, 'mask_words'):
            ids, real = (torch.stack([sample.get(name) for sample in samples]) for name in ('input_ids', 'word_mask'))
            masked = tree_map(mode.from_tensor, head.mask_words(ids, real))
            head.mask_words = lambda *_, masked=masked: masked


def _shapes_of_sample(sample: SegDataSample, mode: FakeTensorMode) -> SegDataSample:
    shapes = sample.clone()
    shapes.set_data({name: mode.from_tensor(sample.get(name)) for name in ('input_ids', 'word_mask')})
    shapes.gt_sem_seg.data = mode.from_tensor(sample.gt_sem_seg.data)
    if 'image_index' in sample:
        shapes.image_index = mode.from_tensor(sample.image_index)
    return shapes


def _forget_cached_tensors() -> None:
    """Clear the caches of layers: their tensors have no values now."""
    for name, module in list(sys.modules.items()):
        if name.startswith('mmmagnet.models'):
            for value in list(vars(module).values()):
                if hasattr(value, 'cache_clear'):
                    value.cache_clear()
