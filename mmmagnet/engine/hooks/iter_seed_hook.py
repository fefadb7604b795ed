"""Random numbers of a training step, the same after a resume."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmagnet.registry import HOOKS


@HOOKS.register_module()
class IterSeedHook(Hook):
    """Sets Python's, NumPy's and PyTorch's random states before each step, by the seed and the iteration.

    Dropout, masked words and compared pixels follow from them, so checkpoints need no random state. Processes differ
    with ``randomness.diff_rank_seed``. Data has random numbers of its own (`mmmagnet.datasets.randomness`).

    Example:
        >>> custom_hooks = [dict(type='IterSeedHook')]  # of a config
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the random states."""
        state = np.random.SeedSequence((runner.seed, runner.iter)).generate_state(3)
        random.seed(int(state[0]))
        np.random.seed(state[1])
        torch.manual_seed(int(state[2]))  # of GPUs, too
