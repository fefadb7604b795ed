"""How fast a network is, against how fast this machine multiplies matrices.

Wall times alone say little on a machine that others use, too. So the time of a 2048 x 2048 x 2048 matrix product in the
same precision is taken before and after every repetition, and the time of the network is stated as a multiple of what
its operations would take at that rate.
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
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmmagnet.models.aux_heads import AuxiliaryHeads

Parts = dict[str, tuple[Any, tuple[str, ...]]]  # name -> an object and its methods
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
_SIDE = 2048  # of the matrices of the reference product


@dataclass(frozen=True)
class Benchmark:
    """What was measured, medians over the repetitions.

    Attributes:
        mode: ``predict`` or ``train``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: ``cpu`` or ``cuda``.
        batch: Images, each with one expression.
        size: H and W of the input, pixels.
        tokens: L.
        repetitions: Number of them.
        seconds: Of a batch; of a training step with its backward pass and the optimizer.
        gflops: Operations of matrix products, convolutions and attention of a batch, 1e9, a multiplication with its
            addition counted as two.
        matmul_gflops_per_s: Rate of the reference product.
        ratio_to_limit: ``seconds * matmul_gflops_per_s / gflops``, repetition by repetition.
        peak_memory_mb: On a GPU of its allocator since the start of the repetitions, on a CPU of the whole process.
        activation_mb: Of a training step: what both passes need at their peak on top of weights, gradients
            and the optimizer's state (`activation_bytes`); None of a prediction.
        auxiliary_share: Of a training step: share of the time that goes when the auxiliary heads do, their part of the
            encoders, the backward pass and the optimizer included; None of a prediction, or without `AuxiliaryHeads`.
        parts: Part of the network -> seconds, from repetitions of their own, forward only but for ``backward`` and
            ``optimizer``. Parts inside others are named after them; a compiled network's encoders are one. ``data``,
            where it was measured, is not in ``all``: workers prepare batches while the network runs.
    """

    mode: str
    precision: str
    device: str
    batch: int
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
        """Plain values, for JSON."""
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
) -> Benchmark:
    """Measure a `ReferringSegmentor`, or any other segmentor of mmseg.

    Args:
        model: On `device`.
        optimizer: Of its parameters: measures a training step; None: a prediction.
        batch: B.
        size: H and W.
        tokens: L, all of them real words.
        precision: Autocast to this type; ``fp32`` is none.
        device: ``cpu`` or ``cuda``.
        repetitions: Number of them, after two to warm up.
        load: Prepares a batch, as one worker does; timed as the part ``data``.
    """
    dtype = PRECISIONS[precision]
    inputs, samples = make_batch(model, batch, size, tokens, device)
    step = TrainingStep(model, optimizer, inputs, samples) if optimizer else _prediction(model, inputs, samples)

    def run() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            step()
        _wait(device)

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
        parts['data'] = _median_seconds(load, max(3, repetitions // 3))
    return Benchmark(
        mode='train' if optimizer else 'predict',
        precision=precision,
        device=device,
        batch=batch,
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


def make_batch(
    model: Any, batch: int, size: tuple[int, int], tokens: int, device: str
) -> tuple[Tensor, list[SegDataSample]]:
    """Noise images (B, 3, H, W), random words, and a rectangle as the mask."""
    generator = torch.Generator().manual_seed(0)
    referring = hasattr(model, 'text_encoder')
    words = model.text_encoder.vocab_size if referring else 2
    samples = []
    for _ in range(batch):
        ids = torch.randint(1, words, (tokens,), generator=generator)
        truth = torch.zeros(1, *size, dtype=torch.uint8 if referring else torch.int64)  # as mmseg's losses ask for it
        truth[:, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
        sample = SegDataSample(metainfo={'img_shape': size, 'ori_shape': size})
        sample.set_data({'input_ids': ids, 'word_mask': torch.ones_like(ids)})
        sample.gt_sem_seg = PixelData(data=truth)
        samples.append(sample.to(device))
    return torch.randn(batch, 3, *size, generator=generator).to(device), samples


def count_gflops(run: Callable[[], None]) -> float:
    """Operations of a function, 1e9, whichever kernels of attention it uses."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def auxiliary_share(model: Any, run: Callable[[], None], repetitions: int) -> float:
    """Median share of the time of a training step that its auxiliary heads take, by leaving them out of every other."""
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
        model: The network.
        run: A prediction or a training step.
        repetitions: Number of them.
        device: ``cpu`` or ``cuda``.
        own: More parts.
    """
    parts: Parts = {'image encoder': (model.backbone, ('forward',))} if hasattr(model, 'backbone') else {}
    if hasattr(model, 'text_encoder'):
        parts = {
            'image encoder': (model.backbone, ('stem', 'forward_stage', 'downsample')),
            'text encoder': (model.text_encoder, ('stem', 'forward_stage')),
            'alignment modules': (model.neck, ('fuse',)),
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
            _wait(device)
            began = time.perf_counter()
            result = method(*given, **named)
            _wait(device)
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


def _median_seconds(work: Callable[[], Any], repetitions: int) -> float:
    """Of a function's calls, after one to warm up."""
    seconds = []
    for _ in range(1 + repetitions):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def _prediction(model: Any, inputs: Tensor, samples: list[SegDataSample]) -> Callable[[], None]:
    model.eval().requires_grad_(False)

    def step() -> None:
        with torch.no_grad():
            model.predict(inputs, samples)

    return step


class TrainingStep:
    """A training step of a `ReferringSegmentor` on one batch, over and over."""

    def __init__(
        self, model: Any, optimizer: torch.optim.Optimizer, inputs: Tensor, samples: list[SegDataSample]
    ) -> None:
        self.model = model.train()
        self.optimizer = optimizer
        self.inputs = inputs
        self.samples = samples

    def __call__(self) -> None:
        """Both passes and the optimizer."""
        self.optimizer.zero_grad()
        self.forward_backward()
        self.optimizer.step()

    def forward_backward(self) -> None:
        """Both passes."""
        losses = self.model.loss(self.inputs, self.samples)
        self.backward(sum(value for name, value in losses.items() if 'loss' in name))

    def backward(self, loss: Any) -> None:
        """The backward pass, in which each operation has the type of its forward pass."""
        with torch.autocast(self.inputs.device.type, enabled=False):
            loss.backward()


def _product_rate(matrices: list[Tensor], device: str) -> float:
    """1e9 operations a second of one product."""
    _wait(device)
    began = time.perf_counter()
    torch.mm(*matrices)
    _wait(device)
    return 2 * _SIDE**3 / 1e9 / (time.perf_counter() - began)


def _wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()
