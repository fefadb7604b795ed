"""Steps of the GPU check. Each yields its rows one by one, so that what it found stays if it fails or is stopped."""

from __future__ import annotations

import copy
import gc
import json
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from activation_memory import activation_bytes
from measurements import PRECISIONS, median_seconds, wait
from mmengine.registry import init_default_scope
from steps import TrainingStep, make_batch, prediction_step
from torch import Tensor
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
PARITY_BF16 = 0.1
"""Largest error of an array in bf16, as a part of its largest number; in fp32 a case has its own bounds."""
BOUNDS = {'fp32': (1e-3, 1e-2), 'bf16': (0.1, 0.5), 'fp16': (0.05, 0.25)}
"""Precision -> largest relative distances of logits and of gradients to the CPU's in fp32."""
SAMPLERS: dict[str, dict[str, Any]] = {
    'grid_sample': {'compiled_kernel': lambda: None, 'sample_by_rows': sampling.sample_by_grid},
    'rows': {'compiled_kernel': lambda: None, 'sample_by_grid': sampling.sample_by_rows},
    'mmcv': {},
}
"""Name -> what it replaces in the module of the deformable attention."""
SCORE = 61.47 - 5
"""oIoU on val that the quickstart must reach: that of docs/get_started.md, less what another device may cost."""
WAITS = ('cudaStreamSynchronize', 'cudaEventSynchronize', 'cudaMemcpy')

Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What is checked.

    Attributes:
        device: ``cuda`` or ``cpu``.
        small: Whether the tests' networks replace those of full size.
        networks: Names in `NETWORKS`.
        out: Folder of the results.
    """

    device: str
    small: bool
    networks: tuple[str, ...]
    out: Path

    def config(self, name: str) -> tuple[Any, tuple[int, int], int]:
        """Config of a network without pretrained weights, the (H, W) of its input, and its number of words."""
        init_default_scope('mmseg')
        if self.small:
            from networks import make_small, read_config  # of tests/

            model = read_config(NETWORKS[name]).model
            make_small(model)
            return model, (64, 64), 8
        config = load_config(ROOT / 'configs' / NETWORKS[name])
        config.model.backbone.pretrained = config.model.text_encoder.pretrained = None
        side = config.image_size
        words = config.train_dataloader.dataset.pipeline
        length = next(step.max_length for step in words if step.type == 'TokenizeExpression')
        return config.model, (side, side) if isinstance(side, int) else tuple(side), length

    def autocast(self, precision: str, device: str | None = None) -> torch.autocast:
        """Context of a precision."""
        return torch.autocast(device or self.device, PRECISIONS[precision], enabled=precision != 'fp32')


class Step(NamedTuple):
    """Step of the check.

    Attributes:
        name: Its name.
        seconds: Estimated time on a GPU at full size.
        run: Function that yields its rows; one with ``passed=False`` fails the step.
        needs_gpu: Whether a CPU cannot run it.
    """

    name: str
    seconds: float
    run: Callable[[Setting], Iterator[Row]]
    needs_gpu: bool = False


def attempt(row: Row, measure: Callable[[], Row]) -> Row:
    """A row with what a function measures, or with its error."""
    try:
        return {**row, **measure()}
    except torch.cuda.OutOfMemoryError:
        return {**row, 'note': 'out of memory'}
    except Exception as error:  # of any kind: the next row goes on
        return {**row, 'passed': False, 'note': f'{type(error).__name__}: {one_line(error)[:300]}'}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check_parity(setting: Setting) -> Iterator[Row]:
    """Released networks on the parity cases, in fp32 and bf16. ReLA's computes in float64 in both."""
    for precision in ('fp32', 'bf16'):
        for folder in sorted((ROOT / 'tests' / 'data').glob('official_parity*')):
            cases = [case for case in load_cases(folder) if case.converter.kind in setting.networks]
            for case in cases[: 1 if setting.small else None]:
                row = {'method': case.converter.kind, 'case': case.name, 'precision': precision}
                yield attempt(row, partial(_compare_case, case, setting, precision))


def _compare_case(case: Case, setting: Setting, precision: str) -> Row:
    from_numpy = torch.from_numpy

    def arrays(model: Any, settings: Any) -> dict[str, Tensor]:
        """The case's arrays, computed on the device."""
        model.to(setting.device)
        loss = model.decode_head.loss_by_feat
        model.decode_head.loss_by_feat = lambda decoded, masks: loss(decoded, masks.to(setting.device))
        with (
            patch.object(torch, 'from_numpy', lambda array: from_numpy(array).to(setting.device)),  # makes the inputs
            setting.autocast(precision),
        ):
            found = case.converter.arrays(model, settings).items()
        return {name: value.float().cpu() if value.dtype in (torch.bfloat16,) else value.cpu() for name, value in found}

    published = load_config(ROOT / 'configs' / case.converter.config).model.to_dict()
    differences = compare(case._replace(converter=replace(case.converter, arrays=arrays)), published)
    if precision != 'fp32':
        differences = [difference._replace(tolerance=PARITY_BF16) for difference in differences]
    errors = {part.array: part.error / (part.tolerance * part.scale or 1) for part in differences}
    worst = max(errors, key=lambda name: errors[name])
    return {
        'passed': all(part.passed for part in differences),
        'arrays': len(errors),
        'worst array': worst,
        'error / bound': errors[worst],
    }


def check_networks(setting: Setting) -> Iterator[Row]:
    """Prediction and gradients of every network against the CPU's in fp32, and finite losses around a training step."""
    for name in setting.networks:
        model, size, words = setting.config(name)
        torch.manual_seed(0)
        network = MODELS.build(model)
        expected = _results(copy.deepcopy(network), make_batch(network, 2, size, words, 'cpu'), setting, 'fp32', 'cpu')
        for precision in ('fp32', 'bf16') if setting.device == 'cpu' else PRECISIONS:
            row = {'network': name, 'precision': precision}
            yield attempt(row, lambda p=precision: _compare_network(network, expected, size, words, setting, p))


def _compare_network(
    network: Any, expected: list[Tensor], size: tuple[int, int], words: int, setting: Setting, precision: str
) -> Row:
    model = copy.deepcopy(network).to(setting.device)
    batch = make_batch(model, 2, size, words, setting.device)
    found = _results(model, batch, setting, precision, setting.device)
    far = [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in zip(found, expected, strict=True)]
    step = TrainingStep(model, torch.optim.AdamW(model.parameters(), lr=5e-5), *batch)
    with setting.autocast(precision):
        before = model.loss(*batch)
        step()
        after = model.loss(*batch)
    finite = all(bool(value.isfinite().all()) for value in (*before.values(), *after.values()))
    close = all(error <= bound for error, bound in zip(far, BOUNDS[precision], strict=True))
    return {'passed': finite and close, 'finite': finite, 'logits': far[0], 'gradients': far[1]}


def _results(model: Any, batch: tuple[Tensor, list], setting: Setting, precision: str, device: str) -> list[Tensor]:
    """Logits and gradients in fp32 on the CPU. Nothing is random: no dropout, and no auxiliary heads."""
    model.eval()
    heads, model.auxiliary_head = model.auxiliary_head, AuxiliaryHeads(None)
    with setting.autocast(precision, device), torch.no_grad():
        logits = torch.stack([sample.seg_logits.data for sample in model.predict(*batch)])
    with setting.autocast(precision, device):
        losses = model.loss(*batch)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    model.auxiliary_head = heads
    gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    return [logits.float().cpu(), torch.cat(gradients).float().cpu()]


def check_memory(setting: Setting) -> Iterator[Row]:
    """Memory of MagNet's training step at batch 8 against its prediction (benchmark.py --mode memory)."""
    model, size, words = setting.config('magnet')

    def measure(precision: str) -> Row:
        make = partial(torch.optim.AdamW, lr=5e-5)
        predicted = training_memory(
            MODELS.build(model), lambda net: make(net.parameters()), 8, size, words, precision
        ).activation_mb
        network = MODELS.build(model).to(setting.device)
        step = TrainingStep(network, make(network.parameters()), *make_batch(network, 8, size, words, setting.device))
        with setting.autocast(precision):
            step()
            measured = activation_bytes(network, step.forward_backward, setting.device) / 2**20
        peak = {'peak of all, MB': torch.cuda.max_memory_allocated() / 2**20} if setting.device == 'cuda' else {}
        return {'predicted, MB': predicted, 'measured, MB': measured, 'ratio': measured / predicted, **peak}

    for precision in ('bf16', 'fp32'):
        yield attempt({'precision': precision}, partial(measure, precision))


def measure_speed(setting: Setting) -> Iterator[Row]:
    """Images per second of MagNet in bf16, by each way of sampling."""
    for mode, batch in _loads(setting):
        for sampler, replaced in SAMPLERS.items():
            if sampler == 'mmcv' and (setting.device == 'cpu' or sampling.compiled_kernel() is None):
                yield {'mode': mode, 'batch': batch, 'sampler': sampler, 'note': 'mmcv.ops is not installed, or no GPU'}
                continue
            with patch.multiple(sampling, **replaced):
                row = {'mode': mode, 'batch': batch, 'sampler': sampler}
                yield attempt(row, partial(_speed, setting, mode, batch, None))


def measure_compiled(setting: Setting) -> Iterator[Row]:
    """Images per second of MagNet in bf16 with compiled encoders and the default sampler."""
    compiled = {'backend': 'eager'} if setting.small else {'mode': 'default', 'dynamic': False}
    for mode, batch in _loads(setting):
        yield attempt({'mode': mode, 'batch': batch}, partial(_speed, setting, mode, batch, compiled))


def _loads(setting: Setting) -> list[tuple[str, int]]:
    return [(mode, batch) for batch in ((2,) if setting.small else (8, 1, 32)) for mode in ('predict', 'train')]


def _speed(setting: Setting, mode: str, batch: int, compiled: dict[str, Any] | None) -> Row:
    model, size, words = setting.config('magnet')
    network = MODELS.build({**model, 'compile': compiled}).to(setting.device)
    given = make_batch(network, batch, size, words, setting.device)
    if mode == 'train':
        step: Callable[[], None] = TrainingStep(network, torch.optim.AdamW(network.parameters(), lr=5e-5), *given)
    else:
        step = prediction_step(network, *given)

    def run() -> None:
        with setting.autocast('bf16'):
            step()
        wait(setting.device)

    began = time.perf_counter()
    run()
    first = time.perf_counter() - began
    seconds = median_seconds(run, 1 if setting.small else 7)
    return {'images per second': batch / seconds, 'seconds': seconds, 'first call, seconds': first}


def check_waits(setting: Setting) -> Iterator[Row]:
    """Places where a training step in bf16 waits for the GPU (there must be none), and a profile of the step."""
    for name in setting.networks:
        yield attempt({'network': name}, partial(_waits, setting, name))


def _waits(setting: Setting, name: str) -> Row:
    model, size, words = setting.config(name)
    network = MODELS.build(model).to(setting.device)
    batch = make_batch(network, 2, size, words, setting.device)
    step = TrainingStep(network, torch.optim.AdamW(network.parameters(), lr=5e-5), *batch)

    def run(debug: str) -> None:
        torch.cuda.set_sync_debug_mode(debug)
        try:
            with setting.autocast('bf16'):
                step()
        finally:
            torch.cuda.set_sync_debug_mode('default')

    for _ in range(3):  # caches are filled
        run('default')
    places: set[str] = set()
    try:
        run('error')
    except RuntimeError as error:
        if 'synchroniz' not in str(error):
            raise
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            run('warn')
        places = {f'{Path(warning.filename).name}:{warning.lineno}' for warning in caught} or {'not located'}
    wait(setting.device)
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run('default')
        took = time.perf_counter() - began
    events = profiler.key_averages()
    slowest = sorted(events, key=lambda event: -event.self_device_time_total)[:3]
    return {
        'passed': not places,
        'waits': ', '.join(sorted(places)) or 'none',
        'share of waiting': sum(event.self_cpu_time_total for event in events if event.key in WAITS) / 1e6 / took,
        'slowest kernels': ', '.join(event.key[:60] for event in slowest),
    }


def run_quickstart(setting: Setting) -> Iterator[Row]:
    """The quickstart: data, training and scores."""
    folder, began = setting.out / 'quickstart', time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)  # a second run would go on from the first
    command = [sys.executable, ROOT / 'tools' / 'quickstart.py', '--device', setting.device, '--work-dir', folder]
    with (
        (setting.out / 'quickstart.log').open('w') as log,
        subprocess.Popen([*command, *(['--smoke'] if setting.small else [])], stdout=log, stderr=log) as process,
    ):
        try:
            process.wait()
        finally:
            process.terminate()  # nothing, where it has ended
    if process.returncode:
        raise RuntimeError(f'exit status {process.returncode}: see {setting.out / "quickstart.log"}')
    for entry in json.loads((folder / 'scores.json').read_text()):
        score = entry['resolutions']['input']['scores']['oIoU']
        required = entry['split'] == 'val' and not setting.small
        yield {'split': entry['split'], 'oIoU': score, **({'passed': score >= SCORE} if required else {})}
    yield {'split': 'all', 'seconds': time.monotonic() - began}


STEPS = (
    Step('parity cases', 40, check_parity),
    Step('networks against the CPU', 110, check_networks),
    Step('memory', 70, check_memory, needs_gpu=True),
    Step('speed', 60, measure_speed),
    Step('waits', 30, check_waits, needs_gpu=True),
    Step('speed, compiled', 80, measure_compiled),
    Step('quickstart', 90, run_quickstart),
)
