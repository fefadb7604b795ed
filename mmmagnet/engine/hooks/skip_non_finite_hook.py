"""A loss that is not a number does no harm, and ends the training if it stays."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmmagnet.registry import HOOKS
from mmmagnet.utils.errors import TrainingError

from .referring_visualization_hook import image_name


@HOOKS.register_module()
class SkipNonFiniteHook(Hook):
    """Skips steps whose loss or gradients are not finite, and ends the training when too many in a row are.

    The hook itself waits for no device in a step: gradients that are not finite become zero there, before the
    optimizer sees them (its momentum still moves the weights a little), and the host looks every `interval` steps, so a
    training ends that much later. In several processes the step is skipped by all of them: a loss that is not finite
    makes all its gradients so, and those are averaged. Overflows of a loss scale are the scaler's own affair and do not
    count. DeepSpeed's optimizer does not show its gradients: there the first such step ends the training.

    Args:
        max_skips: Steps in a row that may be skipped; one more ends the training.
        interval: Steps between looks.
    """

    def __init__(self, max_skips: int = 5, interval: int = 10) -> None:
        if max_skips < 0 or interval < 1:
            raise ValueError(
                f'SkipNonFiniteHook: max_skips={max_skips} is not from 0, or interval={interval} not from 1'
            )
        self.max_skips = max_skips
        self.interval = interval
        self.in_row = 0
        self.sharded = False
        self.zeroed: Tensor | None = None  # whether the optimizer's gradients were, on the device
        # step; whether this process's loss was broken, and whether the step was skipped; the batch
        self.pending: list[tuple[int, Tensor, list[str]]] = []

    def before_train(self, runner: Runner) -> None:
        """Stand between losses, gradients and optimizer."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.register_forward_hook(spread_to_gradients)
        self.sharded = isinstance(runner.model, FullyShardedDataParallel)
        wrapper = runner.optim_wrapper
        for each in wrapper.optim_wrappers.values() if isinstance(wrapper, OptimWrapperDict) else (wrapper,):
            if isinstance(each.optimizer, torch.optim.Optimizer):
                each.optimizer.register_step_pre_hook(self._zero)
            else:
                self.max_skips, self.interval = 0, 1

    def _zero(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Replace gradients by zeros unless all are finite."""
        if getattr(optimizer, 'found_inf', None) is not None:  # of a GradScaler: the step leaves itself out
            return
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group['params']
            if parameter.grad is not None
        ]
        if not gradients:
            return
        broken = ~torch.nn.utils.get_total_norm(gradients).isfinite()
        if self.sharded:  # each process sees a part
            anywhere = broken.int()
            all_reduce(anywhere, 'max')
            broken = anywhere.bool()
        for gradient in gradients:
            gradient.masked_fill_(broken.to(gradient.device), 0)
        self.zeroed = broken if self.zeroed is None else self.zeroed | broken

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Note the step, and look when it is time.

        Raises:
            TrainingError: If more than `max_skips` in a row were skipped.
        """
        broken = ~outputs['loss'].detach().isfinite().all()  # type: ignore[index]
        skipped = broken if self.zeroed is None else broken | self.zeroed.to(broken.device)
        self.zeroed = None
        self.pending.append((runner.iter, torch.stack([broken, skipped]), batch_names(data_batch)))
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            self._look(runner)

    def is_skipping(self, runner: Runner) -> bool:
        """Whether the last step was skipped; waits for the device, in all processes.

        Raises:
            TrainingError: If more than `max_skips` in a row were.
        """
        self._look(runner)
        return self.in_row > 0

    def _look(self, runner: Runner) -> None:
        """Wait for what the device noted; the same in all processes."""
        steps, self.pending = self.pending, []
        if not steps:
            return
        here = torch.stack([flags for _, flags, _ in steps]).int()
        anywhere = here.clone()
        all_reduce(anywhere, 'max')
        for (step, _, names), own, (broken, skipped) in zip(steps, here.tolist(), anywhere.tolist(), strict=True):
            self.in_row = self.in_row + 1 if skipped else 0
            if not skipped:
                continue
            guilty = own[0] or not broken  # gradients alone do not tell whose they are
            found = [name for part in all_gather_object(names if guilty else []) for name in part]
            text = f'the loss or its gradients were not finite in step {step + 1}, whose batch was {", ".join(found)}'
            if self.in_row > self.max_skips:
                raise TrainingError(
                    f'{text}; {self.in_row} steps in a row were skipped (SkipNonFiniteHook.max_skips={self.max_skips}): '
                    'look at these samples and --resume; or start from a checkpoint before the trouble with a lower '
                    'learning rate, by load_from=CHECKPOINT without --resume, which would bring the old rate back'
                )
            runner.logger.warning(f'{text}; the step is skipped, {self.in_row} in a row')


def spread_to_gradients(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Let losses that are not finite, in the output of a network in training, make all their gradients so."""
    if not isinstance(output, dict):
        return None
    return {name: _spread(value) if 'loss' in name else value for name, value in output.items()}


def _spread(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value * torch.ones_like(value).masked_fill(~value.isfinite(), math.nan)
    return [_spread(each) for each in value]


def batch_names(data_batch: Any) -> list[str]:
    """Image, ref and sentence of each sample, as far as the batch knows them."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    return [
        image_name(sample) + (f' ({sample.expression!r})' if 'expression' in sample else '')
        for sample in samples or []
        if 'img_path' in sample
    ]
