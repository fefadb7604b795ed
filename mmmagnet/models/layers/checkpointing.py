"""Activation checkpointing: memory for time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def checkpointed(function: Callable[..., Any], *inputs: Any, active: bool) -> Any:
    """Call a function; if `active`, what its backward pass needs is computed again there instead of being kept.

    Gradients are the same: random numbers (dropout, stochastic depth) are the same in both passes.

    Args:
        function: A layer.
        *inputs: Of it.
        active: ``with_cp`` of a config. Nothing is kept in the first place where no gradients are asked for.
    """
    if active and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)
