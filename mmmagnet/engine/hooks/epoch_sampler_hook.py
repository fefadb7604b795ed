"""An epoch that was interrupted goes on where it stopped."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import EpochBasedTrainLoop, Runner

from mmmagnet.datasets import EpochSampler
from mmmagnet.registry import HOOKS

KEY = 'visits_of_epoch'
"""Entry of a checkpoint's `meta`: how many visits, of all processes together, were made in the epoch it stopped in."""


@HOOKS.register_module()
class EpochSamplerHook(DistSamplerSeedHook):
    """Tells the sampler its epoch, and an `EpochSampler` what is done of an epoch that a checkpoint was written in.

    A checkpoint that CheckpointHook writes with ``by_epoch=False`` lies in the middle of an epoch, which MMEngine's
    epoch-based loop would start anew. With this hook it makes the visits that were left, in their order, on any number
    of processes; the learning rate follows only if an epoch has as many iterations as before. MMEngine's
    iteration-based loop skips by itself what is done (``EpochSampler(infinite=True)``).
    """

    def __init__(self) -> None:
        self.resumed = (0, 0)  # iterations and visits of the checkpoint
        self.epoch = self.first_iter = self.visits_before = 0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember where the checkpoint stopped."""
        meta = checkpoint.get('meta', {})
        self.resumed = meta.get('iter', 0), meta.get(KEY, 0)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set epoch and start of the coming pass."""
        super().before_train_epoch(runner)
        (iterations, visits), self.resumed = self.resumed, (0, 0)
        self.epoch, self.first_iter = runner.epoch, runner.iter
        # a checkpoint may also have been loaded for its weights alone
        self.visits_before = visits if runner.iter == iterations and follows_epochs(runner) else 0
        if self.visits_before:
            runner.train_dataloader.sampler.start_at(self.visits_before)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note in the checkpoint what is done of the epoch; nothing where it is done with."""
        meta = checkpoint['meta']
        if meta['epoch'] == self.epoch and follows_epochs(runner):
            loader = runner.train_dataloader
            visits = (meta['iter'] - self.first_iter) * loader.batch_size * runner.world_size
            meta[KEY] = self.visits_before + visits


def follows_epochs(runner: Runner) -> bool:
    """Whether the training goes by epochs of visits."""
    loader = runner.train_dataloader
    known = isinstance(loader.sampler, EpochSampler) and loader.batch_size is not None
    return known and isinstance(runner.train_loop, EpochBasedTrainLoop)
