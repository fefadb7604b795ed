"""No training goes on from the weights of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmmagnet.registry import HOOKS
from mmmagnet.utils.weights import check_weights


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Compares the entries of a checkpoint with the model's before a training resumes from it.

    MMEngine loads what fits and only warns of the rest.

    Args:
        path: The checkpoint, for the message.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare.

        Raises:
            CheckpointError: Naming the first entry that differs.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = checkpoint.get('state_dict', checkpoint)
        check_weights(model, {name.removeprefix('module.'): value for name, value in weights.items()}, self.path, True)
