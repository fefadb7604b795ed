"""No training goes on, or starts, from the weights of another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmmagnet.registry import HOOKS
from mmmagnet.utils.checkpoint import check_entries, state_dict_of
from mmmagnet.utils.errors import CheckpointError


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compares the entries of a checkpoint with the model's before they are loaded.

    MMEngine loads what fits and only lists the rest. Resuming needs every entry; a training that starts from a
    checkpoint (``load_from``) may leave some as they are, and says how many.

    Args:
        path: The checkpoint, for the message.
        resume: Whether the training resumes from it.
    """

    def __init__(self, path: str | Path, resume: bool) -> None:
        self.path = path
        self.resume = resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare.

        Raises:
            CheckpointError: If it holds no tensors by name. Resuming: naming the first entry that differs, or if its
                optimizer groups weights differently. Starting: if no entry fits.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        given = state_dict_of(checkpoint, self.path)
        if self.resume:
            check_entries(model.state_dict(), given, self.path)
            self._check_groups(runner, checkpoint.get('optimizer'))
            return
        own = model.state_dict()
        left = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
        if len(left) == len(own):
            raise CheckpointError(
                f'{self.path}: is of another model, no entry fits: load_from takes a checkpoint of this project; one '
                'of the authors of MagNet or LAVT goes through tools/model_converters/official.py first'
            )
        if left:
            runner.logger.warning(
                f'{self.path}: {len(own) - len(left)} of {len(own)} entries are loaded; the others start as they are, '
                f'the first is {left[0]}'
            )

    def _check_groups(self, runner: Runner, optimizer: Any) -> None:
        if not isinstance(optimizer, dict) or 'param_groups' not in optimizer:  # of several optimizers
            return
        groups = (optimizer['param_groups'], runner.optim_wrapper.optimizer.param_groups)
        theirs, ours = ([len(group['params']) for group in part] for part in groups)
        if theirs != ours:
            raise CheckpointError(
                f'{self.path}: its optimizer has {len(theirs)} groups of weights and that of this config {len(ours)}, '
                'or of other sizes: optim_wrapper.constructor or paramwise_cfg was another. Start anew from its '
                f'weights, with --cfg-options load_from={self.path}'
            )
