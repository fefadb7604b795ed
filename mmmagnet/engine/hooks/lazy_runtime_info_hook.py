"""Losses for the log, without waiting for the GPU in each step."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from mmmagnet.registry import HOOKS


@HOOKS.register_module()
class LazyRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's `RuntimeInfoHook`, which reads the losses of several steps at once.

    MMEngine's hook reads every loss in every step, and waits for the GPU each time. The histories that the log
    averages are the same here, whenever the log is written.

    Args:
        interval: Number of steps of an epoch between readings. The logger's interval should be a multiple of it.

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

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Keep the losses of a step, and read all that are kept when it is time."""
        for name, value in (outputs or {}).items():
            if isinstance(value, Tensor):
                self.pending.append((name, value.detach().float().mean()))
            else:
                runner.message_hub.update_scalar(f'train/{name}', value)
        if self.every_n_inner_iters(batch_idx, self.interval) or self.end_of_epoch(runner.train_dataloader, batch_idx):
            self._read(runner)

    def after_train(self, runner: Runner) -> None:
        """Read what is left."""
        self._read(runner)
        super().after_train(runner)

    def _read(self, runner: Runner) -> None:
        pending, self.pending = self.pending, []
        if pending:
            values = torch.stack([value for _, value in pending]).tolist()
            for (name, _), value in zip(pending, values, strict=True):
                runner.message_hub.update_scalar(f'train/{name}', value)
