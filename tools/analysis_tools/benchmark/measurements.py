"""Speed of a network relative to the speed of matrix products on the same machine.

Wall times alone say little on a shared machine. So a 2048 x 2048 x 2048 matrix product in the same precision is timed
before and after every repetition, and the time of the network is given as a multiple of the time that its operations
would take at that rate.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from activation_memory import activation_bytes
from steps import TrainingStep, make_batch, prediction_step
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmmagnet.models.aux_heads import AuxiliaryHeads

Parts = dict[str, tuple[Any, tuple[str, ...]]]  # name -> object and its methods to time
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_SIDE = 2048  # rows and columns of the matrices of the reference product


@dataclass(frozen=True)
class Benchmark:
    """Measurements of a network, medians over the repetitions.

    Attributes:
        mode: ``predict`` or ``train``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: ``cpu`` or ``cuda``.
        batch: Number of images B.
        expressions: Number of expressions of each image.
        size: H and W of the input in pixels.
        tokens: Number of words L.
        repetitions: Number of repetitions.
        seconds: Time of a prediction, or of a training step with its backward pass and the optimizer.
        gflops: Operations of a batch in matrix products, convolutions and attention, 1e9. A multiplication with its
            addition counts as two.
        matmul_gflops_per_s: Rate of the reference product, 1e9 operations a second.
        ratio_to_limit: ``seconds * matmul_gflops_per_s / gflops``.
        peak_memory_mb: Peak memory, 2**20 bytes: of the allocator on a GPU, of the whole process on a CPU.
        activation_mb: Peak memory of both passes of a training step on top of weights, gradients and the optimizer's
            state, 2**20 bytes (`activation_bytes`). None for a prediction.
        auxiliary_share: Fraction of a training step that is saved by removing the auxiliary heads, with their part of
            the encoders, the backward pass and the optimizer. None for a prediction, or without `AuxiliaryHeads`.
        parts: Part of the network -> seconds, measured apart, forward only except ``backward`` and ``optimizer``.
            Encoders of a compiled network are one part. ``data`` is not in ``all``, as workers prepare batches while
            the network runs.
    """

    mode: str
    precision: str
    device: str
    batch: int
    expressions: int
    size: tuple[int, int]
    tokens: int
    repetitions: int
    seconds: float
    gflops: float
    matmul_gflops_per_s: float
    ratio_to_limit: float
    peak_memory_mb: float
    activation_mb: float | None
    auxiliary_share: float | None
    parts: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with the images per second."""
        return {**asdict(self), 'size': list(self.size), 'images_per_second': self.batch / self.seconds}


def benchmark(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    batch: int,
    size: tuple[int, int],
    tokens: int,
    precision: str = 'fp32',
    device: str = 'cpu',
    repetitions: int = 10,
    load: Callable[[], Any] | None = None,
    expressions: int = 1,
) -> Benchmark:
    """Measure a `ReferringSegmentor`, or any other segmentor of mmseg.

    Args:
        model: Segmentor on `device`.
        optimizer: Optimizer of its parameters, to measure a training step. None measures a prediction.
        batch: Number of images B.
        size: H and W of the input in pixels.
        tokens: Number of words L, all of them real.
        precision: Type of autocast; ``fp32`` for none.
        device: ``cpu`` or ``cuda``.
        repetitions: Number of repetitions, after two that warm up.
        load: Function that prepares a batch, as one worker does; timed as the part ``data``.
        expressions: Number of expressions of each image, which share what no text reaches; 1 for other segmentors.

    Returns:
        The measurements.
    """
    dtype = PRECISIONS[precision]
    inputs, samples = make_batch(model, batch, size, tokens, device, expressions)
    step = TrainingStep(model, optimizer, inputs, samples) if optimizer else prediction_step(model, inputs, samples)

    def run() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            step()
        wait(device)

    gflops = count_gflops(run)
    matrices = [torch.randn(_SIDE, _SIDE, dtype=dtype, device=device) for _ in range(2)]
    for _ in range(2):
        run()
        _product_rate(matrices, device)
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    seconds, rates = [], []
    for _ in range(repetitions):
        before = _product_rate(matrices, device)
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
        rates.append((before + _product_rate(matrices, device)) / 2)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated() if device == 'cuda' else resident
    activations = shares = None
    own: Parts = {}
    if isinstance(step, TrainingStep):
        own = {'backward': (step, ('backward',)), 'optimizer': (step.optimizer, ('step',))}
        if isinstance(heads := getattr(model, 'auxiliary_head', None), AuxiliaryHeads) and len(heads):
            shares = auxiliary_share(model, run, max(3, repetitions // 2))
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            activations = activation_bytes(model, step.forward_backward, device) / 2**20
    parts = time_parts(model, run, max(3, repetitions // 3), device, own)
    if load:
        parts['data'] = median_seconds(load, max(3, repetitions // 3))
    return Benchmark(
        mode='train' if optimizer else 'predict',
        precision=precision,
        device=device,
        batch=batch,
        expressions=expressions,
        size=size,
        tokens=tokens,
        repetitions=repetitions,
        seconds=statistics.median(seconds),
        gflops=gflops,
        matmul_gflops_per_s=statistics.median(rates),
        ratio_to_limit=statistics.median(s * rate / gflops for s, rate in zip(seconds, rates, strict=True)),
        peak_memory_mb=peak / 2**20,
        activation_mb=activations,
        auxiliary_share=shares,
        parts=parts,
    )


def count_gflops(run: Callable[[], None]) -> float:
    """Operations of a function, 1e9, whatever kernels of attention it uses."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def auxiliary_share(model: Any, run: Callable[[], None], repetitions: int) -> float:
    """Median fraction of a training step that its auxiliary heads take.

    Args:
        model: Segmentor with `AuxiliaryHeads`, which every second step leaves out.
        run: Training step.
        repetitions: Number of pairs of steps.
    """
    heads, without = model.auxiliary_head, AuxiliaryHeads(None)
    shares = []
    for _ in range(repetitions):
        seconds = []
        for model.auxiliary_head in (heads, without):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        shares.append(1 - seconds[1] / seconds[0])
    model.auxiliary_head = heads
    return statistics.median(shares)


def time_parts(
    model: Any, run: Callable[[], None], repetitions: int, device: str, own: Parts | None = None
) -> dict[str, float]:
    """Median seconds that each part of a network takes in a call of `run`.

    Args:
        model: Segmentor.
        run: Prediction or training step.
        repetitions: Number of calls.
        device: ``cpu`` or ``cuda``.
        own: Parts of `run` itself.
    """
    parts: Parts = {'image encoder': (model.backbone, ('forward',))} if hasattr(model, 'backbone') else {}
    if hasattr(model, 'text_encoder'):
        fusing = next(name for name in ('fuse', 'prompt', 'forward') if hasattr(model.neck, name))
        stages = ('stem', 'forward_stage', 'downsample') if fusing == 'fuse' else ('forward',)
        parts = {
            'image encoder': (model.backbone, stages),
            'text encoder': (model.text_encoder, ('stem', 'forward_stage')),
            'alignment modules': (model.neck, (fusing,)),
        }
    if 'extract_feat' in vars(model):  # compiled: nothing inside of it can be timed
        parts = {'encoders and alignment modules': (model, ('extract_feat',))}
    head = getattr(model, 'decode_head', None)
    if head is not None:
        parts['decode head'] = (head, ('forward',))
    for name in ('pixel_decoder', 'query_decoder'):
        if hasattr(head, name):
            parts[f'decode head: {name.replace("_", " ")}'] = (getattr(head, name), ('forward',))
    if isinstance(getattr(model, 'auxiliary_head', None), AuxiliaryHeads):
        for index, auxiliary in enumerate(model.auxiliary_head):
            parts[f'{type(auxiliary).__name__} {index}'] = (auxiliary, ('loss',))
    if hasattr(head, 'loss_by_feat'):
        parts['decode head: loss'] = (head, ('loss_by_feat',))
    parts.update(own or {})
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(repetitions):
        totals: dict[str, float] = dict.fromkeys(parts, 0.0)
        with _timed(parts, totals, device):
            began = time.perf_counter()
            run()
            totals['all'] = time.perf_counter() - began
        for name, seconds in totals.items():
            spent[name].append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    return {name: seconds for name, seconds in medians.items() if seconds}


@contextmanager
def _timed(parts: Parts, totals: dict[str, float], device: str) -> Iterator[None]:
    """Add the time of calls of the parts' methods to `totals`."""

    def timed(name: str, method: Callable) -> Callable:
        def call(*given: Any, **named: Any) -> Any:
            wait(device)
            began = time.perf_counter()
            result = method(*given, **named)
            wait(device)
            totals[name] += time.perf_counter() - began
            return result

        return call

    calls = [(name, part, method) for name, (part, methods) in parts.items() for method in methods]
    before = [vars(part).get(method) for _, part, method in calls]
    for name, part, method in calls:
        setattr(part, method, timed(name, getattr(part, method)))
    try:
        yield
    finally:
        for (_, part, method), own in zip(calls, before, strict=True):
            if own is None:
                delattr(part, method)  # the class has it
            else:
                setattr(part, method, own)


def median_seconds(work: Callable[[], Any], repetitions: int) -> float:
    """Median seconds of a function's calls, after one that warms up."""
    seconds = []
    for _ in range(1 + repetitions):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def _product_rate(matrices: list[Tensor], device: str) -> float:
    """Rate of one matrix product, 1e9 operations a second."""
    wait(device)
    began = time.perf_counter()
    torch.mm(*matrices)
    wait(device)
    return 2 * _SIDE**3 / 1e9 / (time.perf_counter() - began)


def wait(device: str) -> None:
    """Let a GPU finish its work."""
    if device == 'cuda':
        torch.cuda.synchronize()
