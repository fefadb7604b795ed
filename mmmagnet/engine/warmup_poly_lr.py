"""Warm-up and polynomial decay, both counted from the first step."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from mmmagnet.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupPolyLR(LRSchedulerMixin, _ParamScheduler):
    """Learning rate of CARIS (doi 10.1145/3581783.3612117 [O]).

    Of T steps, steps 1 to `warmup_iters` grow linearly to the full rate, and every later step t has the rate times
    ``(1 - t / T) ** power``. The warm-up is not taken off t, so the rate drops behind it. Step 0 runs at the full rate:
    the release leaves it alone.

    Args:
        optimizer: Optimizer or its wrapper.
        warmup_iters: Steps of the warm-up.
        warmup_factor: Factor of the rate that the warm-up starts from.
        power: Power of the decay.
        begin: First step, or first epoch with ``convert_to_iter_based=True``.
        end: Step, or epoch, behind the last.
        last_step: Index of the step before, when a training is resumed without state.
        by_epoch: Whether steps are epochs.
        verbose: Whether each change is logged.

    Example:
        >>> dict(type='WarmupPolyLR', end=50, by_epoch=True, convert_to_iter_based=True)  # of a config
    """

    def __init__(
        self,
        optimizer: Any,
        warmup_iters: int = 1500,
        warmup_factor: float = 0.001,
        power: float = 0.9,
        begin: int = 0,
        end: int = 1_000_000_000,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self.warmup_iters = warmup_iters
        self.warmup_factor = warmup_factor
        self.power = power
        super().__init__(optimizer, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(
        cls, *, begin: int = 0, end: int, epoch_length: int, by_epoch: bool = True, **kwargs: Any
    ) -> WarmupPolyLR:
        """Build a schedule by steps from one whose `begin` and `end` are epochs of `epoch_length` steps."""
        return cls(begin=begin * epoch_length, end=end * epoch_length, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        step, last = self.last_step, self.end - self.begin
        if step == 0:
            factor = 1.0
        elif step <= self.warmup_iters:
            factor = 1 - (1 - step / self.warmup_iters) * (1 - self.warmup_factor)
        else:
            factor = (1 - step / last) ** self.power
        return [base * factor for base in self.base_values]
