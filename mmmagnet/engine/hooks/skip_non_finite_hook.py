"""Training steps whose loss or gradients are not finite."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmmagnet.registry import HOOKS
from mmmagnet.utils.errors import TrainingError

from .referring_visualization_hook import image_name


@HOOKS.register_module()
class SkipNonFiniteHook(Hook):
    """Skips steps whose gradients are not finite, and ends the training when too many in a row are broken.

    No step waits for the device: gradients become zero there, before the optimizer sees them, and the host looks
    every `interval` steps. Momentum still moves the weights a little. Several processes skip together, since their
    gradients are averaged. A loss that is not finite counts as a broken step, too. An overflow of a loss scale does
    not count, since the scaler leaves that step out itself.

    Args:
        max_skips: Broken steps in a row that are allowed; one more ends the training.
        interval: Number of steps between looks, so a training may end that much later.

    Raises:
        ValueError: If `max_skips` is negative, or `interval` is not positive.

    Example:
        >>> default_hooks = dict(finite_loss=dict(type='SkipNonFiniteHook', max_skips=5))  # of a config
    """

    def __init__(self, max_skips: int = 5, interval: int = 10) -> None:
        if max_skips < 0 or interval < 1:
            raise ValueError(
                f'SkipNonFiniteHook: max_skips={max_skips} is not from 0, or interval={interval} not from 1'
            )
        self.max_skips = max_skips
        self.interval = interval
        self.in_row = 0
        self.skipped: Tensor | None = None  # of the step being taken, on the device
        self.pending: list[tuple[int, Tensor, list[str]]] = []  # step; is its loss broken, is the step; the batch

    def before_train(self, runner: Runner) -> None:
        """Watch the optimizer."""
        runner.optim_wrapper.optimizer.register_step_pre_hook(self._zero_gradients)

    def _zero_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Replace gradients by zeros unless all are finite."""
        if getattr(optimizer, 'found_inf', None) is not None:  # of a GradScaler
            return
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if gradients:
            self.skipped = ~torch.nn.utils.get_total_norm(gradients).isfinite()
            for gradient in gradients:
                gradient.masked_fill_(self.skipped, 0)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Note the step, and look when it is time.

        Raises:
            TrainingError: If more than `max_skips` steps in a row were broken.
        """
        loss = ~outputs['loss'].detach().isfinite().all()  # type: ignore[index]
        step = loss if self.skipped is None else loss | self.skipped.to(loss.device)
        self.skipped = None
        self.pending.append((runner.iter + 1, torch.stack([loss, step]), batch_names(data_batch)))
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            self._look(runner)

    def _look(self, runner: Runner) -> None:
        """Wait for the device; all processes find the same steps broken."""
        steps, self.pending = self.pending, []
        here = torch.stack([flags for _, flags, _ in steps]).int()
        anywhere = here.clone()
        all_reduce(anywhere, 'max')
        for (step, _, names), own, (loss, broken) in zip(steps, here.tolist(), anywhere.tolist(), strict=True):
            self.in_row = self.in_row + 1 if broken else 0
            if not broken:
                continue
            suspect = own[0] or not loss  # gradients alone do not tell whose they are
            found = [name for part in all_gather_object(names if suspect else []) for name in part]
            text = f'the loss or its gradients were not finite in step {step}, whose batch was {", ".join(found)}'
            if self.in_row > self.max_skips:
                raise TrainingError(
                    f'{text}; {self.in_row} steps in a row were skipped (SkipNonFiniteHook.max_skips={self.max_skips})'
                    ': look at these samples and --resume; or start from a checkpoint before the trouble with a lower '
                    'learning rate, by load_from=CHECKPOINT without --resume, which would bring the old rate back'
                )
            runner.logger.warning(f'{text}; the step is skipped, {self.in_row} in a row')


def batch_names(data_batch: Any) -> list[str]:
    """Names of a batch's samples: image, ref, sentence and expression, as far as the batch knows them."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    return [
        image_name(sample) + (f' ({sample.expression!r})' if 'expression' in sample else '')
        for sample in samples or []
        if 'img_path' in sample
    ]
