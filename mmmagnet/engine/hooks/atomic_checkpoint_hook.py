"""Checkpoints that are there whole or not at all, whatever ends the training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmmagnet.registry import HOOKS

from .skip_non_finite_hook import SkipNonFiniteHook

VALIDATED = 'validated_epoch'
"""Entry of the message hub, which checkpoints carry: the last epoch after which the model was scored."""


class WholeFileBackend(LocalBackend):
    """MMEngine's local files, written under another name first: a file is the old one or the new one, never a part."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file.

        Raises:
            OSError: If they cannot be written, such as to a full disk; a former file stays as it was.
        """
        path = Path(filepath)
        part = path.with_name(f'{path.name}.part')
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open('wb') as stream:
                stream.write(obj)
                stream.flush()
                os.fsync(stream.fileno())  # a name must not outlive a power cut that its bytes do not
            part.replace(path)
        except OSError as error:
            raise OSError(
                error.errno, f'not saved, former checkpoints are kept: {error.strerror}', str(path)
            ) from error
        finally:
            part.unlink(missing_ok=True)


class _LaterRemoval(WholeFileBackend):
    """Notes what is to be removed."""

    def __init__(self) -> None:
        self.outdated: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        self.outdated.append(str(filepath))

    def rmtree(self, dir_path: str | Path) -> None:
        self.outdated.append(str(dir_path))


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook, so that a training may end at any moment, by force or on a full disk.

    Files are written under another name and then renamed (all that MMEngine writes to local files from then on; not the
    folders that DeepSpeed writes by itself); what is out of date, the former best too, is removed only when what
    replaces it stands. Where `SkipNonFiniteHook` has just skipped a step nothing is saved, unless it was the last: a
    network that has broken must not replace one that had not. A training that was ended between the checkpoint of an
    epoch and the end of its validation is validated when it resumes, so that the best checkpoint is the same.
    """

    file_backend: Any  # of MMEngine's hook
    place: dict[str, int]  # epoch and step that the checkpoint in the making goes on from

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder; after resuming, make up for a validation that was cut off."""
        register_backend('local', WholeFileBackend, force=True, prefixes='')
        super().before_train(runner)
        loop = runner.train_loop
        if runner.iter >= runner.max_iters:
            runner.logger.info(f'nothing is left to do: all {runner.max_iters} steps of this training are done')
        if (
            isinstance(loop, EpochBasedTrainLoop)
            and runner.val_loop is not None
            and loop.epoch >= max(1, loop.val_begin)
        ):
            due = loop.epoch % loop.val_interval == 0 or loop.epoch == loop.max_epochs
            if due and runner.message_hub.runtime_info.get(VALIDATED) != loop.epoch:
                self.last_ckpt = runner.message_hub.runtime_info.get('last_ckpt')  # it is to name a new best
                runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save the best, and the last once more where it must name a new best."""
        runner.message_hub.update_info(VALIDATED, runner.epoch)
        super().after_val_epoch(runner, metrics)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the place right: FlexibleRunner counts an epoch twice where a checkpoint is saved again as the best."""
        checkpoint['meta'].update(self.place)

    def _save_checkpoint(self, runner: Runner) -> None:
        self.place = {'epoch': runner.epoch + self.by_epoch, 'iter': runner.iter + (not self.by_epoch)}
        if any(hook.is_skipping(runner) for hook in runner.hooks if isinstance(hook, SkipNonFiniteHook)):
            done = self.place['iter']
            sound = all(weight.isfinite().all() for weight in runner.model.parameters())
            if done < runner.max_iters or not sound:
                runner.logger.warning(
                    f'no checkpoint is saved after step {done}, which was skipped; the former is kept'
                )
                return
        super()._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        with self._removals_last():
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        self.place = {'epoch': runner.epoch, 'iter': runner.iter}
        with self._removals_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_last(self) -> Iterator[None]:
        """Let files that MMEngine removes within be there until the end."""
        backend, later = self.file_backend, _LaterRemoval()
        self.file_backend = later
        try:
            yield
        finally:
            self.file_backend = backend
        current = {self.last_ckpt, getattr(self, 'best_ckpt_path', None)}
        current.update(getattr(self, 'best_ckpt_path_dict', {}).values())
        for path in set(later.outdated) - current if is_main_process() else ():
            backend.rmtree(path) if backend.isdir(path) else backend.remove(path)
