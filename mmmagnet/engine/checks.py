"""Checks of a config before a run is built from it, and of its tokenizers once the network is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import mmengine.registry
import mmseg.registry
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import Registry
from mmengine.runner import IterBasedTrainLoop

from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer
from mmmagnet.utils.config import SETTINGS, dataset_configs
from mmmagnet.utils.errors import ConfigError

VANISHING = ('PolyLR', 'WarmupPolyLR', 'CosineAnnealingLR')
"""Schedules whose rate ends at `eta_min`, 0 by default."""


FOREIGN = ('config', 'clip_grad')
"""Settings whose ``type`` is of no registry: a text encoder's for transformers, and how MMEngine clips gradients."""


def check_types(config: Config) -> None:
    """Make sure that every ``type`` in a config's settings is registered, or importable by its dotted name.

    Raises:
        ConfigError: Naming the first one that is not.

    Example:
        >>> check_types(Config(dict(optim_wrapper=dict(type='OptimWrapper'))))
    """
    nodes = [*vars(mmseg.registry).values(), *vars(mmengine.registry).values()]
    registries = [node for node in nodes if isinstance(node, Registry)]
    for path, name in _types({key: value for key, value in config.to_dict().items() if key in SETTINGS}):
        if not any(_is_registered(registry, name) for registry in registries):
            raise ConfigError(
                f'{path}={name!r} is not registered: correct the name, or install its package and add it to '
                'custom_imports of the config'
            )


def _is_registered(registry: Registry, name: str) -> bool:
    try:
        return registry.get(name) is not None
    except RuntimeError:  # a dotted name of a module that is not there
        return False


def _types(config: Any, path: str = '') -> Iterator[tuple[str, str]]:
    """Dotted names and values of all entries ``type``."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if key == 'type' and isinstance(value, str):
            yield f'{path}type', value
        elif isinstance(value, (dict, list, tuple)) and key not in FOREIGN:
            yield from _types(value, f'{path}{key}.')


def check_amp(config: Config) -> None:
    """Make sure that a config's mixed precision can run.

    Raises:
        ConfigError: If it needs a GPU and there is none.

    Example:
        >>> check_amp(Config(dict(optim_wrapper=dict(type='OptimWrapper'))))
    """
    if (config.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise ConfigError(
            'optim_wrapper.type=AmpOptimWrapper: its mixed precision needs a GPU, and PyTorch sees none here; leave '
            '--amp out, or take a config with an OptimWrapper'
        )


def check_compile(config: Config) -> None:
    """Make sure that a training compiles the network and not its whole step.

    Raises:
        ConfigError: If it asks MMEngine's `compile`, which takes the optimizer along; PyTorch 2.13 fails on that.

    Example:
        >>> check_compile(Config(dict(model=dict(compile=dict(mode='default')))))
    """
    if config.get('compile') not in (None, False):
        raise ConfigError('compile: takes the step of the optimizer along, which fails; set model.compile instead')


def check_scoring(config: Config) -> None:
    """Make sure that a config scores each pair of one set once, without test-time augmentation.

    Raises:
        ConfigError: If a pipeline has `TestTimeAug`, a model is mmseg's `SegTTAModel`, or a wrapper is scored.

    Example:
        >>> check_scoring(Config(dict(model=dict(type='ReferringSegmentor'))))
    """
    for name in ('val_dataloader', 'test_dataloader'):
        dataset = (config.get(name) or {}).get('dataset') or {}
        if {'dataset', 'datasets'} & dataset.keys():
            raise ConfigError(
                f'{name}.dataset.type={dataset["type"]!r}: sets are scored one at a time, each pair once; give the '
                'RefCOCODataset itself'
            )
    looked_at = ('model', 'val_dataloader', 'test_dataloader', 'custom_hooks')
    for name, kind in _types({name: config.get(name) or {} for name in looked_at}):
        if kind.rpartition('.')[2] in ('TestTimeAug', 'SegTTAModel'):
            raise ConfigError(
                f'{name}={kind!r}: expressions are scored without test-time augmentation, as a flip changes left and '
                'right; take the plain model and pipeline'
            )


def check_monitored(config: Config) -> None:
    """Make sure that scores which hooks and schedules look at are ones of `ReferringSegMetric`.

    MMEngine looks for them after the first validation.

    Raises:
        ConfigError: Naming the setting that lacks the prefix of the scores.

    Example:
        >>> check_monitored(Config(dict(val_evaluator=dict(type='ReferringSegMetric'), param_scheduler=[])))
    """
    evaluators = config.get('val_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    if any(each.get('type') != 'ReferringSegMetric' for each in evaluators):
        return  # whose scores are not known
    prefixes = tuple(f'{each.get("prefix", "ref")}/' for each in evaluators if each.get('prefix', 'ref'))
    settings = {'default_hooks.checkpoint.save_best': (config.get('default_hooks') or {}).get('checkpoint', {})}
    for name in ('param_scheduler', 'custom_hooks'):
        parts = config.get(name) or []
        settings |= {f'{name}.{index}.monitor': part for index, part in enumerate(parts) if isinstance(part, dict)}
    for name, part in settings.items():
        asked = part.get(name.rpartition('.')[2]) or []
        for score in [asked] if isinstance(asked, str) else asked:
            if len(prefixes) == len(evaluators) > 0 and score != 'auto' and not score.startswith(prefixes):
                raise ConfigError(f'{name}={score!r}: no score has this name; they begin with a prefix, as ref/mIoU')


def check_schedule(config: Config, loop: Any) -> None:
    """Warn where the learning rate stays 0 or never moves, or checkpoints come only at the end of a training.

    Args:
        config: Config of the training.
        loop: Its training loop, one of MMEngine's two.

    Example:
        >>> check_schedule(config, runner.train_loop)  # doctest: +SKIP
    """
    steps, by_iteration = loop.max_iters, isinstance(loop, IterBasedTrainLoop)
    schedule = config.get('param_scheduler') or []
    for index, part in enumerate(schedule if isinstance(schedule, (list, tuple)) else []):
        by_epoch = part.get('by_epoch', True)
        length, whole = (len(loop.dataloader), loop.max_epochs) if by_epoch else (1, steps)
        end = length * part.get('end', whole)
        if end < steps and part['type'] in VANISHING and not part.get('eta_min'):
            _warn(
                f'the learning rate is 0 from step {end} of {steps} on: set param_scheduler.{index}.end='
                f'{-(-steps // length)}, or train less'
            )
        if by_iteration and by_epoch and not part.get('convert_to_iter_based'):
            _warn(f'param_scheduler.{index} counts epochs, which an IterBasedTrainLoop has none of: set by_epoch=False')
    checkpoint = (config.get('default_hooks') or {}).get('checkpoint') or {}
    if by_iteration and checkpoint.get('by_epoch', True):
        _warn('an IterBasedTrainLoop saves only at its end: set default_hooks.checkpoint.by_epoch=False')


def _warn(text: str) -> None:
    print_log(text, 'current', logging.WARNING)


def check_tokenizers(config: Config, model: Any) -> None:
    """Make sure that the training's tokenizers fit the text encoder.

    Args:
        config: Config of the training.
        model: The network. Only what its `text_encoder` tells (`vocab_size`, `mask_token_id`, `max_tokens`) is
            compared.

    Raises:
        ConfigError: If a tokenizer has more words than the encoder, gives more tokens, or has another [MASK].
        DataError: If a tokenizer cannot be loaded.

    Example:
        >>> check_tokenizers(config, runner.model)  # doctest: +SKIP
    """
    encoder = getattr(getattr(model, 'module', model), 'text_encoder', None)
    size, mask = getattr(encoder, 'vocab_size', None), getattr(encoder, 'mask_token_id', None)
    room = getattr(encoder, 'max_tokens', None)
    steps = [
        step
        for dataset in dataset_configs((config.get('train_dataloader') or {}).get('dataset'))
        for step in dataset.get('pipeline') or ()
        if step['type'] in ('TokenizeExpression', TokenizeExpression)
    ]
    longest = max((step.get('max_length', 20) for step in steps), default=0)
    if room is not None and longest > room:
        raise ConfigError(
            f'TokenizeExpression: max_length={longest}, but the text encoder has places for {room} tokens'
        )
    for name in {step['tokenizer'] for step in steps}:
        tokenizer = load_tokenizer(name)
        if size is not None and len(tokenizer) > size:
            raise ConfigError(
                f'tokenizer={name!r} has {len(tokenizer)} words and text_encoder.config.vocab_size={size} fewer: take '
                'the tokenizer that belongs to the text encoder'
            )
        if None not in (mask, tokenizer.mask_token_id) and mask != tokenizer.mask_token_id:
            raise ConfigError(
                f'text_encoder.mask_token_id={mask}, but [MASK] of tokenizer={name!r} is {tokenizer.mask_token_id}: '
                'take the tokenizer that belongs to the text encoder; for an encoder of its vocabulary set '
                f'model.text_encoder.mask_token_id={tokenizer.mask_token_id}'
            )
