"""Losses for the log, without waiting for the GPU in each step."""

from __future__ import annotations

from math import gcd
from typing import Any

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mmmagnet.registry import HOOKS


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's `RuntimeInfoHook`, which reads the losses of several steps at once.

    MMEngine's hook reads every loss in every step, and waits for the GPU each time. What the log says and what a
    checkpoint keeps of the losses is the same here.

    Args:
        interval: Number of steps between readings, at most. Losses are also read whenever the log is written.

    Raises:
        ValueError: If `interval` is not positive.

    Example:
        >>> default_hooks = dict(runtime_info=dict(type='LazyRuntimeInfoHook'))  # of a config
    """

    def __init__(self, interval: int = 10) -> None:
        super().__init__()
        if interval < 1:
            raise ValueError(f'LazyRuntimeInfoHook: interval={interval} is not from 1')
        self.interval = interval
        self.pending: list[tuple[str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Read when the log is written, too."""
        super().before_train(runner)
        self.interval = gcd(self.interval, *(hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the losses of a step, and read all that are kept when it is time."""
        for name, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                self.pending.append((f'train/{name}', value.detach().float().reshape(())))
            else:
                runner.message_hub.update_scalar(f'train/{name}', value)
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._read(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the losses of all steps in a checkpoint."""
        if self.pending:
            self._read(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _read(self, runner: Runner) -> None:
        pending, self.pending = self.pending, []
        if pending:
            device = pending[0][1].device
            values = torch.stack([value.to(device) for _, value in pending]).tolist()
            for (name, _), value in zip(pending, values, strict=True):
                runner.message_hub.update_scalar(name, value)
