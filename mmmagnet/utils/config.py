"""Config files, changed as a command line asks. They are run, so they must be trusted."""

from __future__ import annotations

import argparse
import difflib
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner

from .config_text import check_registered, config_from_text, value_from_text
from .errors import ConfigError

__all__ = ['ConfigError', 'check_registered', 'config_from_text', 'dataset_configs', 'load_config', 'parse_options']

SETTINGS = {
    *inspect.signature(Runner.__init__).parameters,
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
}
"""Settings that MMEngine reads from a config: arguments of its Runner, and those it looks up by name."""

MODULE2PACKAGE['mmmagnet'] = 'mmmagnet'  # so that a config inherits ours: _base_ = 'mmmagnet::mix/magnet_resnet50.py'
INHERITING = (
    '; give the path of the file, or install the package (pip install .) and write mmmagnet::FOLDER/NAME.py for '
    'configs/FOLDER/NAME.py, mmmagnet::_base_/../NAME.py for configs/NAME.py'
)


def load_config(
    path: str | Path,
    options: dict[str, Any] | None = None,
    data_root: str | Path | None = None,
    work_dir: str | Path | None = None,
    training: bool = True,
) -> Config:
    """Config of a file, changed as a command line asks. The file is run: it must be trusted.

    Args:
        path: The file; or its path inside the installed package, such as ``configs/magnet_swin_b.py``.
        options: Dotted names -> values that replace those of the file.
        data_root: Prepared folder that all datasets read instead of the file's.
        work_dir: Folder of logs and checkpoints. Default: the file's `work_dir`, else ``work_dirs/<name of the file>``.
        training: Let the training read `data_root`, too. Off for scoring: the model may be trained on several sets.

    Raises:
        FileNotFoundError: If the file is not there.
        ConfigError: If the file does not run, an option would change nothing, or `data_root` would merge datasets of
            different folders.

    Example:
        >>> load_config('configs/magnet_tiny_synthetic.py', {'train_cfg.max_epochs': 1}).work_dir
        'work_dirs/magnet_tiny_synthetic'
    """
    found = Path(path)
    if not found.is_file():
        found = Path(__file__).parents[1] / '.mim' / path
    if not found.is_file():
        raise FileNotFoundError(f'{path}: no such config file')
    try:
        config = Config.fromfile(str(found))
    except Exception as error:  # whatever a Python file may raise
        missing = isinstance(error, FileNotFoundError) and re.search(r'mmmagnet[/\\]\.mim\b', str(error))
        unknown = missing or '_get_package_and_cfg_path' in str(error)
        raise ConfigError(f'{path}: {type(error).__name__}: {error}{INHERITING if unknown else ""}') from error
    _remove_scope(list(config.values()))
    for option in options or {}:
        _check_option(config, option)
    try:
        config.merge_from_dict(options or {})
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise ConfigError(f'--cfg-options for {path}: {error}') from error
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = config.get(name) or {}
        if data_root is not None and (training or name != 'train_dataloader'):
            _set_data_root(loader, name, str(data_root))
        if loader.get('num_workers') == 0:
            loader['persistent_workers'] = False  # PyTorch refuses to keep none
    config.work_dir = str(work_dir or config.get('work_dir') or Path('work_dirs') / found.stem)
    return config


def parse_options(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Options of a command line, ``['train_cfg.max_epochs=1', ...]``.

    MMEngine's DictAction reads them, but for dicts, which it cannot read.

    Raises:
        ConfigError: If one has no ``=``, or its value cannot be read.

    Example:
        >>> parse_options(['train_cfg.max_epochs=1', 'load_from=a.pth'])
        {'train_cfg.max_epochs': 1, 'load_from': 'a.pth'}
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    options: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition('=')
        if not equals:
            raise ConfigError(f'--cfg-options: {pair!r} is not of the form name=value')
        if re.search(r'(^|[\[(,])\s*(dict\(|{)', value):
            options[name] = value_from_text(value, f'--cfg-options {name}')
            continue
        try:
            options |= parser.parse_args(['--cfg-options', pair]).cfg_options
        except (AssertionError, RecursionError) as error:  # of brackets
            raise ConfigError(f'--cfg-options {name}: {value!r} cannot be read: {error}') from error
    return options


def dataset_configs(dataset: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Configs of the datasets inside wrappers (`dataset`) and concatenations (`datasets`).

    Example:
        >>> inner = dict(type='RefCOCODataset', split='val')
        >>> list(dataset_configs(dict(type='RepeatDataset', times=2, dataset=inner)))
        [{'type': 'RefCOCODataset', 'split': 'val'}]
    """
    if dataset is None:
        return
    if 'dataset' not in dataset and 'datasets' not in dataset:
        yield dataset
    for part in [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets', []):
        yield from dataset_configs(part)


def _remove_scope(node: Any) -> None:
    """Take out the name of this package, which MMEngine notes in what is inherited; its parts are in mmseg's scope."""
    if isinstance(node, dict) and node.get('_scope_') == 'mmmagnet':
        del node['_scope_']
    if isinstance(node, (dict, list, tuple)):
        for part in node.values() if isinstance(node, dict) else node:
            _remove_scope(part)


def _set_data_root(loader: dict[str, Any], name: str, data_root: str) -> None:
    datasets = list(dataset_configs(loader.get('dataset')))
    roots = {str(dataset.get('data_root')) for dataset in datasets}
    if len(roots) > 1:
        raise ConfigError(
            f'--data-root: {name} joins datasets of {len(roots)} folders ({", ".join(sorted(roots))}); '
            f'set each with --cfg-options, as {name}.dataset.datasets.0.data_root=FOLDER'
        )
    for dataset in datasets:
        dataset['data_root'] = data_root


def _check_option(config: Config, option: str) -> None:
    """Refuse an option that would change nothing."""
    name = option.split('.')[0]
    if name in SETTINGS:
        return
    if name in config:
        raise ConfigError(
            f'--cfg-options {option}: {name!r} is a variable of the config file, which was used when the file ran; '
            'set the settings that it went into, such as train_dataloader.dataset.data_root'
        )
    near = difflib.get_close_matches(name, {*config.keys(), *SETTINGS}, n=1)
    hint = f'; did you mean {near[0]}?' if near else ''
    raise ConfigError(f'--cfg-options {option}: the config has no setting {name!r}{hint}')
