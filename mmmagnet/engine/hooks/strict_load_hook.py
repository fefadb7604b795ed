"""Comparison of a checkpoint with the model before a training loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmmagnet.registry import HOOKS
from mmmagnet.utils.checkpoint import check_entries, state_dict_of
from mmmagnet.utils.errors import CheckpointError
from mmmagnet.utils.trainable_checkpoint import FROZEN, fill_frozen


@HOOKS.register_module()
class StrictLoadHook(Hook):
    """Compares the entries of a checkpoint with the model's before they are loaded.

    MMEngine loads what fits and only lists the rest. To resume, every entry must fit. A training that starts from a
    checkpoint (``load_from``) may leave some entries as they are, and says how many. Frozen weights that a checkpoint
    leaves out are those of the pretrained files.

    Args:
        path: File of the checkpoint, for messages.
        resume: Whether the training resumes from it.

    Example:
        >>> runner.register_hook(StrictLoadHook('work_dirs/tiny/epoch_3.pth', resume=True))  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, resume: bool) -> None:
        self.path = path
        self.resume = resume

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Compare the entries.

        Raises:
            CheckpointError: If the checkpoint holds no tensors by name. To resume: if an entry differs, or if the
                optimizer groups weights differently. To start: if no entry fits.
        """
        own = (runner.model.module if is_model_wrapper(runner.model) else runner.model).state_dict()
        weights = state_dict_of(checkpoint, self.path)
        if FROZEN in checkpoint:
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            weights = checkpoint['state_dict'] = fill_frozen(model, checkpoint.pop(FROZEN), weights, self.path)
        if self.resume:
            check_entries(own, weights, self.path)
            self._check_groups(runner, checkpoint.get('optimizer'))
            return
        fitting = {name: value for name, value in weights.items() if name in own and value.shape == own[name].shape}
        left = check_entries(
            own,
            fitting,
            self.path,
            'load_from takes a checkpoint of this project; convert one of the authors of MagNet or LAVT with '
            'tools/model_converters/official.py first',
            partial=True,
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
