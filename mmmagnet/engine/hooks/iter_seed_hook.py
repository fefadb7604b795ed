"""What is drawn at random in a step follows from the seed and the step, so a resumed training draws the same."""

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
    """Sets Python's, numpy's and PyTorch's random state before each step: dropout, masked words, compared pixels.

    Checkpoints need no random state then. Processes draw differently where ``randomness.diff_rank_seed`` says so. What
    is drawn for data does not follow this state (`mmmagnet.datasets.randomness`).
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the state."""
        state = np.random.SeedSequence((runner.seed, runner.iter)).generate_state(3)
        random.seed(int(state[0]))
        np.random.seed(state[1])
        torch.manual_seed(int(state[2]))  # of GPUs, too
