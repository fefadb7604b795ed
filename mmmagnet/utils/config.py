"""Config files, changed as a command line asks. They are run, so they must be trusted."""

from __future__ import annotations

import argparse
import difflib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from .checkpoint import load_file
from .config_text import check_registered, config_from_text
from .errors import CheckpointError, ConfigError
from .latest_checkpoint import latest_checkpoint

__all__ = [
    'ConfigError',
    'check_amp',
    'check_registered',
    'check_tokenizers',
    'config_from_text',
    'enable_amp',
    'leaf_datasets',
    'load_config',
    'parse_options',
    'set_data_root',
    'set_resume',
    'set_seed',
]

# settings MMEngine reads from a config beside the arguments of its Runner
_RUNNER_SETTINGS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
}


def load_config(
    path: str | Path,
    options: dict[str, Any] | None = None,
    data_root: str | Path | None = None,
    work_dir: str | Path | None = None,
    training: bool = True,
) -> Config:
    """Read a config file and change it as a command line asks. The file is run: it must be trusted.

    Args:
        path: The file; or its path inside the installed package, such as ``configs/magnet_swin_b.py``.
        options: Dotted names -> values that replace those of the file.
        data_root: Prepared folder that all datasets read instead of the file's.
        work_dir: Folder of logs and checkpoints. Default: the file's `work_dir`, else ``work_dirs/<name of the file>``.
        training: Let the training read `data_root`, too. Off where a model is scored: it may have learnt from a mix.

    Raises:
        FileNotFoundError: If the file is not there.
        ConfigError: If the file does not run, an option names a setting that is unknown or was only a step to others,
            or `data_root` would merge datasets that are several.
    """
    found = Path(path)
    if not found.is_file():
        found = Path(__file__).parents[1] / '.mim' / path
    if not found.is_file():
        raise FileNotFoundError(f'{path}: no such config file')
    try:
        config = Config.fromfile(str(found))
    except Exception as error:  # whatever a Python file may raise
        raise ConfigError(f'{path}: {type(error).__name__}: {error}') from error
    if options:
        _check_names(config, options)
        try:
            config.merge_from_dict(options)
        except (KeyError, TypeError, IndexError, AssertionError) as error:
            raise ConfigError(f'--cfg-options for {path}: {error}') from error
    if data_root is not None:
        set_data_root(config, data_root, training)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(name) or {}
        if loader.get('num_workers') == 0:
            loader['persistent_workers'] = False  # PyTorch refuses to keep none
    config.work_dir = str(work_dir or config.get('work_dir') or Path('work_dirs') / found.stem)
    return config


def parse_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``['train_cfg.max_epochs=1', ...]`` of a command line -> a dict, by MMEngine's rules."""
    if not pairs:
        return {}
    parser = argparse.ArgumentParser(prog='--cfg-options', add_help=False)
    parser.add_argument('--pairs', nargs='+', action=DictAction)
    for pair in pairs:
        if '=' not in pair:
            raise ConfigError(f'--cfg-options: {pair!r} is not of the form name=value')
    return dict(parser.parse_args(['--pairs', *pairs]).pairs)


def set_data_root(config: Config, data_root: str | Path, training: bool = True) -> None:
    """Let the datasets of all dataloaders, or of all but the training's, read one prepared folder.

    Raises:
        ConfigError: If a dataloader joins datasets of different folders.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')[0 if training else 1 :]:
        datasets = list(leaf_datasets((config.get(name) or {}).get('dataset')))
        roots = {str(dataset.get('data_root')) for dataset in datasets}
        if len(roots) > 1:
            raise ConfigError(
                f'--data-root: {name} joins datasets of {len(roots)} folders ({", ".join(sorted(roots))}); '
                f'set each with --cfg-options, as {name}.dataset.datasets.0.data_root=FOLDER'
            )
        for dataset in datasets:
            dataset['data_root'] = str(data_root)
    if 'data_root' in config:
        config.data_root = str(data_root)


def set_seed(config: Config, seed: int) -> None:
    """Let everything random in a training follow one seed: weights, order of the refs, what is drawn for them.

    Raises:
        ConfigError: If it is no seed of NumPy's.
    """
    from mmmagnet.registry import DATA_SAMPLERS, DATASETS, MODELS

    if not 0 <= seed < 2**32:
        raise ConfigError(f'seed {seed}: give one from 0 to {2**32 - 1}')

    config.randomness = {**(config.get('randomness') or {}), 'seed': seed}
    loader = config.get('train_dataloader') or {}
    parts = [(DATASETS, part) for part in leaf_datasets(loader.get('dataset'))]
    if loader.get('sampler'):
        parts.append((DATA_SAMPLERS, loader['sampler']))
    if _preprocessor(config):
        parts.append((MODELS, _preprocessor(config)))
    for registry, part in parts:
        kind = registry.get(part['type']) if isinstance(part['type'], str) else part['type']
        if kind is not None and 'seed' in inspect.signature(kind).parameters:
            part['seed'] = seed


def enable_amp(config: Config) -> None:
    """Switch a training to automatic mixed precision: float16, unless the config names another ``dtype``.

    Raises:
        ConfigError: If there is no GPU, or the config has an optimizer wrapper of its own.
    """
    import torch

    wrapper = config.optim_wrapper
    if not torch.cuda.is_available():
        raise ConfigError("--amp: MMEngine's mixed precision needs a GPU, and PyTorch sees none here; leave --amp out")
    if wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ConfigError(f'--amp: optim_wrapper is a {wrapper.type}; only an OptimWrapper can be switched')
    wrapper.type = 'AmpOptimWrapper'
    wrapper.setdefault('dtype', 'float16')
    wrapper.setdefault('loss_scale', 'dynamic')


def check_amp(config: Config) -> None:
    """Make sure that a config's mixed precision can run.

    Raises:
        ConfigError: If it needs a GPU, and there is none.
    """
    from mmengine.device import get_device

    if (config.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper' and get_device() == 'cpu':
        raise ConfigError(
            'optim_wrapper.type=AmpOptimWrapper: its mixed precision needs a GPU, and PyTorch sees none here; take a '
            'config with an OptimWrapper'
        )


def set_resume(config: Config, checkpoint: str | Path | None) -> None:
    """Let a training go on from a checkpoint, or from the newest whole one in its work dir, or start if there is none.

    Weights, order and expressions go on by the seeds of the config stored in the checkpoint, the learning rate by its
    schedule.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
        CheckpointError: If it cannot be read, or none in the work dir can; if it has weights only.
        ConfigError: If the config's schedule or optimizer is another than the checkpoint's.
    """
    # MMEngine's own search believes a note that may be missing; and where the config has a `load_from`, it resumes that
    if checkpoint is None:
        latest = latest_checkpoint(config.work_dir)
    elif Path(checkpoint).is_dir():  # DeepSpeed's
        latest = (Path(checkpoint), None)
    else:
        latest = (Path(checkpoint), load_file(checkpoint))
    config.resume = latest is not None
    if latest is None:
        return
    found, content = latest
    config.load_from = str(found)
    if not isinstance(content, dict):
        return
    meta = content.get('meta') or {}
    if 'optimizer' not in content or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(
            f'{found}: has weights but no state of a training (as best_*.pth): resume from an epoch_*.pth, or start '
            f'anew from these weights with --cfg-options load_from={found}'
        )
    if 'cfg' not in meta:
        return
    stored = config_from_text(meta['cfg'], source=f'{found} (meta.cfg)')
    if (config.get('param_scheduler') or []) != (stored.get('param_scheduler') or []):
        raise ConfigError(
            f'{found}: was trained with another param_scheduler, and --resume goes on with that: give none other, or '
            f'start anew from its weights with --cfg-options load_from={found}'
        )
    optimizers = [_optimizer_settings(part.get('optim_wrapper') or {}) for part in (config, stored)]
    if optimizers[0] != optimizers[1]:
        raise ConfigError(
            f'{found}: was trained with another optim_wrapper.optimizer or paramwise_cfg, and --resume goes on with '
            f'that: give none other, or start anew from its weights with --cfg-options load_from={found}'
        )
    seeds = {name: value for name, value in (stored.get('randomness') or {}).items() if name != 'deterministic'}
    config.randomness = {**(config.get('randomness') or {}), **seeds}
    ours, theirs = (part.get('train_dataloader') or {} for part in (config, stored))
    pairs = [(ours.get('sampler') or {}, theirs.get('sampler') or {})]
    pairs += zip(leaf_datasets(ours.get('dataset')), leaf_datasets(theirs.get('dataset')), strict=False)
    pairs.append((_preprocessor(config), _preprocessor(stored)))
    for mine, before in pairs:
        if 'seed' in before:
            mine['seed'] = before['seed']


def _optimizer_settings(wrapper: dict[str, Any]) -> list[Any]:
    """What says how far a step goes; not by which kernel."""
    optimizer = {name: value for name, value in (wrapper.get('optimizer') or {}).items() if name != 'fused'}
    return [optimizer, wrapper.get('paramwise_cfg') or {}]


def check_tokenizers(config: Config, model: Any) -> None:
    """Make sure that the training's tokenizers fit the text encoder.

    Args:
        config: Of the training.
        model: The network; what its `text_encoder` does not tell (`vocab_size`, `mask_token_id`, `max_tokens`) is not
            looked at.

    Raises:
        ConfigError: If a tokenizer has more words than the encoder, gives more at a time, or its [MASK] is another.
        DataError: If a tokenizer is not to be had.
    """
    from mmmagnet.datasets.transforms.expression import TokenizeExpression, load_tokenizer

    encoder = getattr(getattr(model, 'module', model), 'text_encoder', None)
    size, mask = getattr(encoder, 'vocab_size', None), getattr(encoder, 'mask_token_id', None)
    room = getattr(encoder, 'max_tokens', None)
    steps = [
        step
        for dataset in leaf_datasets((config.get('train_dataloader') or {}).get('dataset'))
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


def leaf_datasets(dataset: Any) -> Iterator[dict[str, Any]]:
    """The dataset configs inside wrappers (`dataset`) and joins (`datasets`)."""
    if dataset is None:
        return
    if 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'])
    elif 'datasets' in dataset:
        for part in dataset['datasets']:
            yield from leaf_datasets(part)
    else:
        yield dataset


def _preprocessor(config: Config) -> dict[str, Any]:
    return (config.get('model') or {}).get('data_preprocessor') or {}


def _check_names(config: Config, options: dict[str, Any]) -> None:
    """Refuse options that would change nothing.

    One whose first name neither the config nor MMEngine's Runner knows, and one of a variable that the file had put
    into settings when it ran.
    """
    from mmengine.runner import Runner

    read = {*_RUNNER_SETTINGS, *inspect.signature(Runner.__init__).parameters}
    for option in options:
        name = option.split('.')[0]
        if name in read:
            continue
        if name not in config:
            near = difflib.get_close_matches(name, {*config.keys(), *read}, n=1)
            hint = f'; did you mean {near[0]}?' if near else ''
            raise ConfigError(f'--cfg-options {option}: the config has no setting {name!r}{hint}')
        settings = {key: value for key, value in config.to_dict().items() if key in read}
        if config[name] not in ('', None) and (used := list(_places(settings, config.to_dict()[name]))):
            raise ConfigError(
                f'--cfg-options {option}: {name!r} is a variable of the config file, which has become other settings; '
                f'set these: {", ".join(used)}'
            )


def _places(settings: Any, value: Any, path: str = '') -> Iterator[str]:
    """Dotted names of the settings that are a text, list or dict."""
    if not isinstance(value, (str, list, tuple, dict)):
        return
    for key, setting in settings.items() if isinstance(settings, dict) else enumerate(settings):
        if setting == value:
            yield f'{path}{key}'
        elif isinstance(setting, (dict, list, tuple)):
            yield from _places(setting, value, f'{path}{key}.')
