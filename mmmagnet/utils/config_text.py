"""Configs as text inside checkpoints: read, never run."""

from __future__ import annotations

import ast
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from .errors import ConfigError

SCOPES = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'mmdet')
"""Packages whose registries a name like ``mmpretrain.ConvNeXt`` may open."""


def config_from_text(text: str, source: str = 'config text') -> Config:
    """Config in the form that MMEngine writes into checkpoints, read without running it.

    Only lines ``name = value`` are read, of constants, lists, tuples, dicts and calls of ``dict``.

    Args:
        text: The text (`Config.pretty_text`).
        source: Name of its origin, for messages.

    Raises:
        ConfigError: If the text holds anything else, naming the line.

    Example:
        >>> config_from_text("model = dict(type='ReferringSegmentor')").model.type
        'ReferringSegmentor'
    """
    settings: dict[str, Any] = {}
    try:
        for statement in ast.parse(text).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    settings[name] = _literal(value)
                case _:
                    raise ConfigError(statement.lineno)
        return Config(settings)
    except ConfigError as error:  # raised above or in _literal
        line = text.splitlines()[error.args[0] - 1].strip()
        raise ConfigError(
            f'{source}, line {error.args[0]}: {line!r} is more than values and dict(...), and is not run; '
            'give a config file you trust with --config'
        ) from None
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(f'{source}: not a config ({error}); give the config file with --config') from error


def check_registered(config: Any, registry: Registry, source: str) -> None:
    """Make sure that every ``type`` in a config that is not trusted is a registered part.

    MMEngine imports and calls whatever a dotted ``type`` names (``os.system``).

    Raises:
        ConfigError: Naming the type that is not registered.

    Example:
        >>> from mmmagnet.registry import MODELS
        >>> check_registered({'type': 'ReferringSegmentor'}, MODELS, 'epoch_3.pth')
    """
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if isinstance(value, (dict, list, tuple)):
            check_registered(value, WEIGHT_INITIALIZERS if key == 'init_cfg' else registry, source)
    if isinstance(config, dict) and 'type' in config and not _is_registered(config['type'], registry):
        raise ConfigError(
            f'{source}: type={config["type"]!r} is no registered part of {", ".join(SCOPES)} or mmmagnet; give a '
            'config file you trust with --config, which may import others by custom_imports'
        )


def _is_registered(name: Any, registry: Registry) -> bool:
    if not isinstance(name, str):
        return False
    scope, _, plain = name.rpartition('.')
    if scope and scope not in SCOPES:
        return False
    if scope:
        try:
            module = import_module(f'{scope}.registry')
        except ImportError:
            return False
        nodes = [node for node in vars(module).values() if isinstance(node, Registry) and node.name == registry.name]
    else:
        nodes = [registry]
    while nodes:
        node = nodes.pop()
        node.import_from_location()
        if plain in node.module_dict:
            return True
        if node.parent is not None and not scope:
            nodes.append(node.parent)
    return False


def value_from_text(text: str, source: str) -> Any:
    """A value of constants, lists, tuples, dicts and calls of ``dict``, read without running it.

    Args:
        text: The value, as in a config file.
        source: Its origin, for messages.

    Raises:
        ConfigError: If the text is anything else.

    Example:
        >>> value_from_text("[dict(type='EMAHook')]", '--cfg-options custom_hooks')
        [{'type': 'EMAHook'}]
    """
    try:
        return _literal(ast.parse(text, mode='eval').body)
    except (ConfigError, SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f'{source}: {text!r} is no value: write it as in a config file, in quotes, as "[dict(type=\'EMAHook\')]"'
        ) from error


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(ast.fix_missing_locations(_AsLiterals().visit(node)))
    except ValueError as error:  # Python's, for all that is more than a value
        raise ConfigError(node.lineno) from error


class _AsLiterals(ast.NodeTransformer):
    """Turns ``dict(...)``, ``inf`` and ``nan`` into what `ast.literal_eval` reads."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id='dict'), args=[] | [ast.Dict()], keywords=keywords):
                pairs = [(ast.Constant(keyword.arg), keyword.value) for keyword in keywords if keyword.arg]
                if len(pairs) == len(keywords):
                    first = node.args[0] if node.args else ast.Dict(keys=[], values=[])
                    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
                    return ast.Dict(keys=[*first.keys, *keys], values=[*first.values, *values])  # type: ignore[attr-defined]
        return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node
