"""One seed for a training's data, and epochs that resume in their middle."""

from __future__ import annotations

from typing import Any

from mmengine.dist import broadcast_object_list
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmmagnet.datasets import EpochSampler
from mmmagnet.registry import HOOKS
from mmmagnet.utils.errors import ConfigError

KEY = 'samples_of_epoch'
"""Entry of a checkpoint's `meta`: samples that all processes together have trained on in the unfinished epoch."""


@HOOKS.register_module()
class EpochSamplerHook(DistSamplerSeedHook):
    """Hands ``randomness.seed`` to the training's data, and resumes an epoch in its middle.

    The seed goes to the sampler, the dataset and the data preprocessor, where they have one. After a resume it is the
    checkpoint's, which MMEngine restores. A checkpoint that `CheckpointHook` writes with ``by_epoch=False`` lies in
    the middle of an epoch, which MMEngine's epoch-based loop starts anew. With this hook the loop trains on the samples
    that are left, in their order, on any number of processes. The learning rate follows only if an epoch has as many
    iterations as before. An iteration-based loop skips what is done by itself, once the hook has made its
    `EpochSampler` infinite.

    Raises:
        ConfigError: If the sampler has another seed than ``randomness.seed``, or gives a training set no epochs.

    Example:
        >>> default_hooks = dict(sampler_seed=dict(type='EpochSamplerHook'))  # of a config
    """

    def __init__(self) -> None:
        self.resumed = (0, 0)  # iterations and samples of the checkpoint
        self.epoch = self.first_iter = self.samples_before = 0

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember where the checkpoint stopped."""
        meta = checkpoint.get('meta', {})
        self.resumed = meta.get('iter', 0), meta.get(KEY, 0)

    def before_train(self, runner: Runner) -> None:
        """Hand down the seed, before workers copy the dataset."""
        loader = runner.train_dataloader
        seeds = [runner.seed]  # with diff_rank_seed, each process has a seed of its own
        broadcast_object_list(seeds)
        (seed,) = seeds
        if isinstance(loader.sampler, EpochSampler):
            if loader.sampler.seed not in (None, seed):
                raise ConfigError(
                    f'train_dataloader.sampler.seed={loader.sampler.seed}, but randomness.seed={seed}: state the '
                    'seed once, as randomness.seed'
                )
            if isinstance(runner.train_loop, (EpochBasedTrainLoop, IterBasedTrainLoop)):
                loader.sampler.infinite = isinstance(runner.train_loop, IterBasedTrainLoop)
        elif takes_epoch(loader.dataset):
            raise ConfigError(
                f'train_dataloader.sampler: a {type(loader.sampler).__name__} gives no epochs, so each ref would keep '
                "one expression in all of them; use dict(type='EpochSampler')"
            )
        model = getattr(runner.model, 'module', runner.model)
        parts: list[Any] = [loader.sampler, loader.dataset, getattr(model, 'data_preprocessor', None)]
        for part in parts:
            if hasattr(part, 'seed'):
                part.seed = seed
        iterator = getattr(runner.train_loop, 'dataloader_iterator', None)
        if iterator is not None and iterator._iterator is not None:  # upstream MMEngine has started the workers
            loader._iterator = None
            runner.train_loop.dataloader_iterator = type(iterator)(loader)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set epoch and start of the coming pass."""
        super().before_train_epoch(runner)
        (iterations, samples), self.resumed = self.resumed, (0, 0)
        self.epoch, self.first_iter = runner.epoch, runner.iter
        # a checkpoint may also have been loaded for its weights alone
        self.samples_before = samples if runner.iter == iterations and follows_epochs(runner) else 0
        if self.samples_before:
            runner.train_dataloader.sampler.start_at(self.samples_before)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note in the checkpoint how much of an unfinished epoch is done."""
        meta = checkpoint['meta']
        if meta['epoch'] == self.epoch and follows_epochs(runner):
            iterations = meta['iter'] - self.first_iter
            meta[KEY] = self.samples_before + iterations * runner.train_dataloader.batch_size * runner.world_size


def takes_epoch(dataset: Any) -> bool:
    """Whether a training set of ours is in a dataset, or in what MMEngine's wrappers hold."""
    parts = getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)])
    own = getattr(dataset, 'takes_epoch', False) and not getattr(dataset, 'test_mode', False)
    return own or any(part is not None and takes_epoch(part) for part in parts)


def follows_epochs(runner: Runner) -> bool:
    """Whether the training runs epoch by epoch in the order of an `EpochSampler`."""
    loader = runner.train_dataloader
    known = isinstance(loader.sampler, EpochSampler) and loader.batch_size is not None
    return known and isinstance(runner.train_loop, EpochBasedTrainLoop)
