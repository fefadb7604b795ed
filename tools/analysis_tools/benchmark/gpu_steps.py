"""Steps of the GPU check. Each yields its rows one by one, so that they stay if it fails or is stopped."""

from __future__ import annotations

import copy
import gc
import json
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from activation_memory import activation_bytes
from measurements import PRECISIONS, median_seconds, wait
from mmengine.registry import init_default_scope
from steps import TrainingStep, make_batch, prediction_step
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from training_memory import training_memory

from mmmagnet.model_converters import Case, compare, load_cases
from mmmagnet.models.aux_heads import AuxiliaryHeads
from mmmagnet.models.layers import deformable_attention as sampling
from mmmagnet.registry import MODELS
from mmmagnet.utils.cli import one_line
from mmmagnet.utils.config import load_config

ROOT = Path(__file__).resolve().parents[3]
NETWORKS = {
    'magnet': 'magnet_swin_b.py',
    'lavt': 'lavt_swin_b.py',
    'rela': 'rela/rela_swin_b_refcoco.py',
    'caris': 'caris/caris_swin_b_refcoco.py',
    'cris': 'cris/cris_r50_refcoco.py',
    'detris': 'detris/detris_vitb_refcoco.py',
}
# largest error of an array in bf16, as a part of its largest number; on a CPU 0.39 (norms of gradients) and 0.15 (maps)
PARITY_BF16 = 0.5
# largest relative distances of logits and gradients to the CPU's in fp32
BOUNDS = {'fp32': (1e-3, 1e-2), 'bf16': (0.1, 0.5), 'fp16': (0.05, 0.25)}
SAMPLERS: dict[str, dict[str, Any]] = {  # what each replaces in the module of the deformable attention
    'grid_sample': {'compiled_kernel': lambda: None, 'sample_by_rows': sampling.sample_by_grid},
    'rows': {'compiled_kernel': lambda: None, 'sample_by_grid': sampling.sample_by_rows},
    'mmcv': {},
}
WAITS = ('cudaStreamSynchronize', 'cudaEventSynchronize', 'cudaMemcpy')
SCORE = 56.0  # oIoU on val that the quickstart must reach; on a CPU 63.08

Row = dict[str, Any]
Batch = tuple[Tensor, list]


@dataclass(frozen=True)
class Setting:
    """What is checked: the tests' small networks or those of full size, on a device, with results in a folder."""

    device: str
    small: bool
    out: Path

    def run(self, precision: str, call: Callable[..., Any], *given: Any, device: str | None = None) -> Any:
        """Call a function in a precision. The next call casts weights anew."""
        with torch.autocast(device or self.device, PRECISIONS[precision], enabled=precision != 'fp32'):
            return call(*given)


class Step(NamedTuple):
    """Step of the check: a function that yields its rows, of which one with ``passed=False`` fails it."""

    name: str
    seconds: float  # estimated, on a GPU at full size
    run: Callable[[Setting], Iterator[Row]]
    needs_gpu: bool = False


@lru_cache  # building takes seconds
def build(small: bool, name: str, compiled: bool = False) -> tuple[Any, Callable[[int, str], Batch]]:
    """A random network on the CPU, to be copied, and a function of number and device that makes batches."""
    init_default_scope('mmseg')
    if small:
        from networks import make_small, read_config  # of tests/

        model, size, words = read_config(NETWORKS[name]).model, (64, 64), 8
        make_small(model)
    else:
        config = load_config(ROOT / 'configs' / NETWORKS[name])
        model, side, words = config.model, config.image_size, 17 if name in ('cris', 'detris') else 20
        size = (side, side) if isinstance(side, int) else tuple(side)
        model.backbone.pretrained = model.text_encoder.pretrained = None
    if compiled:
        model.compile = {'backend': 'eager'} if small else {'mode': 'default', 'dynamic': False}
    torch.manual_seed(0)
    network = MODELS.build(model)
    return network, lambda batch, device: make_batch(network, batch, size, words, device)


def _adamw(network: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=5e-5, fused=True)


def attempt(row: Row, measure: Callable[[], Row]) -> Row:
    """A row with what a function measures, or with its error."""
    try:
        return {**row, **measure()}
    except torch.cuda.OutOfMemoryError:
        return {**row, 'note': 'out of memory'}
    except Exception as error:  # of any kind: the next row goes on
        file, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
        note = f'{type(error).__name__} in {Path(file).name}:{line}: {one_line(error)[:300]}'
        return {**row, 'passed': False, 'note': note}
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def check_parity(setting: Setting) -> Iterator[Row]:
    """Networks on the released ones' cases. ReLA's compute in float64 whatever the precision, so they run once."""
    for precision in ('fp32', 'bf16'):
        for folder in sorted((ROOT / 'tests' / 'data').glob('official_parity*')):
            for case in load_cases(folder)[: 1 if setting.small else None]:
                kind = case.converter.kind
                if kind in NETWORKS and (kind, precision) != ('rela', 'bf16'):
                    compare_it = partial(_compare_case, case, setting, precision)
                    yield attempt({'method': kind, 'case': case.name, 'precision': precision}, compare_it)


def _compare_case(case: Case, setting: Setting, precision: str) -> Row:
    from_numpy = torch.from_numpy

    def arrays(model: Any, settings: Any) -> dict[str, Tensor]:
        loss = model.to(setting.device).decode_head.loss_by_feat
        model.decode_head.loss_by_feat = lambda decoded, masks: loss(decoded, masks.to(setting.device))
        with patch.object(torch, 'from_numpy', lambda array: from_numpy(array).to(setting.device)):  # the inputs
            found = setting.run(precision, case.converter.arrays, model, settings)
        return {name: (part.float() if part.dtype == torch.bfloat16 else part).cpu() for name, part in found.items()}

    published = load_config(ROOT / 'configs' / case.converter.config).model.to_dict()
    differences = compare(case._replace(converter=replace(case.converter, arrays=arrays)), published)
    differences = [part if precision == 'fp32' else part._replace(tolerance=PARITY_BF16) for part in differences]
    error, array = max((part.error / (part.tolerance * part.scale or 1), part.array) for part in differences)
    return {'passed': all(part.passed for part in differences), 'worst array': array, 'error / bound': error}


def check_networks(setting: Setting) -> Iterator[Row]:
    """Prediction and gradients of every network against the CPU's in fp32, and finite losses around a training step."""
    for name in NETWORKS:
        network, make = build(setting.small, name)
        expected = _results(network, make(2, 'cpu'), setting, 'fp32', 'cpu')
        for precision in ('fp32', 'bf16') if setting.device == 'cpu' else PRECISIONS:
            compare_it = partial(_compare_network, network, make, expected, setting, precision)
            yield attempt({'network': name, 'precision': precision}, compare_it)


def _compare_network(network: Any, make: Any, expected: list[Tensor], setting: Setting, precision: str) -> Row:
    model, batch = copy.deepcopy(network).to(setting.device), make(2, setting.device)
    found = _results(model, batch, setting, precision, setting.device)
    far = [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in zip(found, expected, strict=True)]
    step = TrainingStep(model, _adamw(model), *batch)
    losses = [*setting.run(precision, model.loss, *batch).values()]
    setting.run(precision, step)
    losses += setting.run(precision, model.loss, *batch).values()
    finite = all(bool(value.isfinite().all()) for value in losses)
    near = all(distance <= bound for distance, bound in zip(far, BOUNDS[precision], strict=True))
    return {'passed': finite and near, 'finite': finite, 'logits': far[0], 'gradients': far[1]}


def _results(model: Any, batch: Batch, setting: Setting, precision: str, device: str) -> list[Tensor]:
    """Logits and gradients in fp32 on the CPU. Nothing is random: no dropout, and no auxiliary heads."""
    heads, model.auxiliary_head = model.eval().auxiliary_head, AuxiliaryHeads(None)
    with torch.no_grad():
        predicted = setting.run(precision, model.predict, *batch, device=device)
    losses = setting.run(precision, model.loss, *batch, device=device)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    logits = torch.stack([sample.seg_logits.data for sample in predicted])
    model.zero_grad()  # and those in the list stay
    model.auxiliary_head = heads
    return [logits.float().cpu(), torch.cat(gradients).float().cpu()]


def check_memory(setting: Setting) -> Iterator[Row]:
    """Memory of MagNet's training step at batch 8 against its prediction (benchmark.py --mode memory)."""
    for precision in ('fp32', 'bf16'):
        yield attempt({'precision': precision}, partial(_memory, setting, precision))


def _memory(setting: Setting, precision: str) -> Row:
    network, make = build(setting.small, 'magnet')
    images, samples = make(8, setting.device)
    given = (images.shape[2], images.shape[3]), len(samples[0].input_ids), precision
    predicted = training_memory(copy.deepcopy(network), _adamw, 8, *given).activation_mb
    network = copy.deepcopy(network).to(setting.device)
    step = TrainingStep(network, _adamw(network), images, samples)
    setting.run(precision, step)
    measured = activation_bytes(network, partial(setting.run, precision, step.forward_backward), setting.device) / 2**20
    return {'predicted, MB': predicted, 'measured, MB': measured, 'ratio': measured / predicted}


def measure_speed(setting: Setting, compiled: bool = False) -> Iterator[Row]:
    """Images per second of MagNet in bf16 by each way of sampling, or by the default one with compiled encoders."""
    network, make = build(setting.small, 'magnet', compiled)
    network = copy.deepcopy(network).to(setting.device)
    usable = setting.device != 'cpu' and sampling.compiled_kernel() is not None
    samplers = {'default': {}} if compiled else {name: SAMPLERS[name] for name in SAMPLERS if usable or name != 'mmcv'}
    for mode in ('train', 'predict'):  # in this order: a network that predicts has no gradients from then on
        for batch in (2,) if setting.small else (8,) if compiled else (8, 1, 32):
            for sampler, replaced in samplers.items():
                if (mode, batch, sampler) == ('train', 32, 'rows'):  # its backward pass writes terabytes
                    continue
                row = {'mode': mode, 'batch': batch, 'sampler': sampler}
                with patch.multiple(sampling, **replaced) if replaced else nullcontext():
                    yield attempt(row, partial(_speed, network, make, setting, mode, batch))


def _speed(network: Any, make: Any, setting: Setting, mode: str, batch: int) -> Row:
    given = make(batch, setting.device)
    step = TrainingStep(network, _adamw(network), *given) if mode == 'train' else prediction_step(network, *given)

    def run() -> None:
        setting.run('bf16', step)
        wait(setting.device)

    began = time.perf_counter()
    run()
    first = time.perf_counter() - began
    seconds = median_seconds(run, 1 if setting.small else 7)
    return {'images per second': batch / seconds, 'seconds': seconds, 'first call, seconds': first}


def check_waits(setting: Setting) -> Iterator[Row]:
    """A profile of each network's training step in bf16, and whether it waits for the GPU, which it must not."""
    for name in NETWORKS:
        built, make = build(setting.small, name)
        network = copy.deepcopy(built).to(setting.device)
        step = TrainingStep(network, _adamw(network), *make(2, setting.device))
        yield attempt({'network': name, 'run': 'profile'}, partial(_profile, setting, step))
        yield attempt({'network': name, 'run': 'no wait'}, partial(_no_wait, setting, step))


def _profile(setting: Setting, step: TrainingStep) -> Row:
    for _ in range(3):  # fills caches
        setting.run('bf16', step)
    wait(setting.device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        began = time.perf_counter()
        setting.run('bf16', step)
        took = time.perf_counter() - began
    events = profiler.key_averages()
    waiting = sum(event.self_cpu_time_total for event in events if event.key in WAITS) / 1e6
    kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    slowest = sorted(kernels, key=lambda event: -event.self_device_time_total)[:3]
    return {'share of waiting': waiting / took, 'slowest kernels': ', '.join(event.key[:60] for event in slowest)}


def _no_wait(setting: Setting, step: TrainingStep) -> Row:
    try:
        torch.cuda.set_sync_debug_mode('error')
        setting.run('bf16', step)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return {'passed': True}


def run_quickstart(setting: Setting) -> Iterator[Row]:
    """The quickstart: data, training and scores."""
    folder, log = setting.out / 'quickstart', setting.out / 'quickstart.log'
    shutil.rmtree(folder, ignore_errors=True)  # a second run would go on from the first
    command: list[str | Path] = [sys.executable, ROOT / 'tools/quickstart.py', '--device', setting.device]
    command += ['--work-dir', folder, *['--smoke'] * setting.small]
    with log.open('w') as file, subprocess.Popen(command, stdout=file, stderr=file) as run:
        try:
            run.wait()
        finally:
            run.terminate()  # if the time is over
    if run.returncode:
        raise RuntimeError(f'exit status {run.returncode}: see {log}')
    for split, entry in json.loads((folder / 'scores.json').read_text()).items():
        score = entry['metrics']['ref/oIoU']
        yield {'split': split, 'oIoU': score, 'passed': setting.small or split != 'val' or score >= SCORE}


STEPS = (
    Step('parity cases', 30, check_parity),
    Step('networks against the CPU', 100, check_networks),
    Step('memory', 50, check_memory, needs_gpu=True),
    Step('speed', 60, measure_speed),
    Step('waits', 30, check_waits, needs_gpu=True),
    Step('quickstart', 140, run_quickstart),
    Step('speed, compiled', 70, partial(measure_speed, compiled=True)),
)
