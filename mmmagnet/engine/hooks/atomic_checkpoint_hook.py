"""Checkpoints that survive a training's end at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmmagnet.registry import HOOKS
from mmmagnet.utils.io import atomic_write
from mmmagnet.utils.trainable_checkpoint import drop_frozen

VALIDATED = 'last_validated_epoch'  # not val..., which MMEngine would log as a result of the validation
"""Entry of the message hub, which checkpoints carry: the last epoch whose validation is done."""


class AtomicFileBackend(LocalBackend):
    """MMEngine's local files, each written under another name first, so that a file is the old or the new one."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file.

        Raises:
            OSError: If the disk does not take them, such as a full one. A former file stays as it is.
        """
        try:
            with atomic_write(filepath, 'wb') as file:
                file.write(obj)
        except OSError as error:
            raise OSError(
                error.errno, f'not saved, former checkpoints are kept: {error.strerror}', str(filepath)
            ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook for trainings that may end at any moment, by force or on a full disk.

    Files are written under another name and then renamed. MMEngine removes the oldest checkpoint before it writes the
    next one, so at least two are kept. The former best is removed after the new one stands. A training that ended
    between the checkpoint of an epoch and the end of its validation is validated when it resumes, so the best
    checkpoint is the same.

    Args:
        max_keep_ckpts: Number of checkpoints to keep, from 2; -1 keeps all.
        trainable_only: Leave out the frozen weights of both encoders; to load it, their pretrained files are needed.
        **settings: Settings of MMEngine's CheckpointHook.

    Raises:
        ValueError: If one checkpoint is kept, or none.

    Example:
        >>> default_hooks = dict(checkpoint=dict(type='AtomicCheckpointHook', save_best='ref/oIoU', rule='greater'))
    """

    def __init__(self, max_keep_ckpts: int = 2, trainable_only: bool = False, **settings: Any) -> None:
        if max_keep_ckpts in (0, 1):
            raise ValueError(
                f'AtomicCheckpointHook: max_keep_ckpts={max_keep_ckpts}; give 2 or more, as the oldest is removed '
                'before the next one stands'
            )
        super().__init__(max_keep_ckpts=max_keep_ckpts, **settings)
        self.trainable_only = trainable_only

    file_backend: Any = None  # MMEngine's hook has it from the beginning of a training on

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder. After a resume, run a validation that was cut off."""
        register_backend('local', AtomicFileBackend, force=True, prefixes='')
        super().before_train(runner)
        for part in Path(self.out_dir).glob('*.part') if runner.rank == 0 else ():  # of a write that was cut off
            part.unlink()
        if runner.iter >= runner.max_iters:
            runner.logger.info(f'nothing is left to do: all {runner.max_iters} steps of this training are done')
        loop = runner.train_loop
        if runner.val_loop is None or not isinstance(loop, EpochBasedTrainLoop):
            return
        due = loop.epoch >= max(1, loop.val_begin) and (
            loop.epoch % loop.val_interval == 0 or loop.epoch == loop.max_epochs
        )
        if due and runner.message_hub.runtime_info.get(VALIDATED) != loop.epoch:
            self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')  # saved again if it names a new best
            runner.val_loop.run()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out, where that is asked."""
        if self.trainable_only:
            drop_frozen(getattr(runner.model, 'module', runner.model), checkpoint)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save the best checkpoint, and the last one again where it must name a new best."""
        if self.file_backend is None:  # ``runner.val()`` alone
            return
        runner.message_hub.update_info(VALIDATED, runner.epoch)
        former, self.best_ckpt_path = getattr(self, 'best_ckpt_path', None), None  # MMEngine removes it first
        super().after_val_epoch(runner, metrics)
        self.best_ckpt_path = self.best_ckpt_path or former
        if former not in (None, self.best_ckpt_path) and runner.rank == 0 and self.file_backend.isfile(former):
            self.file_backend.remove(former)
