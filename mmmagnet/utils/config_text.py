"""Configs as text inside checkpoints: read, never run."""

from __future__ import annotations

import ast
import math
from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS, Registry

from .errors import ConfigError

# packages whose registries a name like 'mmpretrain.ConvNeXt' may open
SCOPES = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'mmdet')
_NAMED_NUMBERS = {'inf': math.inf, 'nan': math.nan}


def config_from_text(text: str, source: str = 'config text') -> Config:
    """Read a config as MMEngine writes it into checkpoints, without running it.

    Only ``name = value`` lines are read, of constants, lists, tuples, dicts and calls of ``dict``.

    Args:
        text: The text (`Config.pretty_text`).
        source: Where it is from, for messages.

    Raises:
        ConfigError: If the text holds anything else, naming the line.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f'{source}: not a config ({error}); give the config file with --config') from error
    settings: dict[str, Any] = {}
    try:
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    settings[name] = _value_of(value)
                case _:
                    raise _Refused(statement)
        return Config(settings)
    except _Refused as refused:
        code = (ast.get_source_segment(text, refused.node) or '').strip().splitlines() or ['?']
        raise ConfigError(
            f'{source}, line {refused.node.lineno}: {code[0]!r} is more than values and dict(...), and is not run; '
            'give a config file you trust with --config'
        ) from None
    except (KeyError, TypeError, RecursionError) as error:  # names MMEngine reserves; unhashable keys
        raise ConfigError(f'{source}: not a config ({error}); give the config file with --config') from error


def check_registered(config: Any, registry: Registry, source: str) -> None:
    """Make sure that every ``type`` in a config is a registered part.

    MMEngine imports and calls whatever a dotted ``type`` names (``os.system``), so a config that is not trusted is
    checked before anything is built from it.

    Raises:
        ConfigError: Naming the type that is not registered.
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


class _Refused(Exception):  # noqa: N818 - never leaves this file
    """A piece of a config text that is not a plain value."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node


def _value_of(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in _NAMED_NUMBERS:
            return _NAMED_NUMBERS[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value_of(operand)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise _Refused(node)
            return -number if isinstance(sign, ast.USub) else number
        case ast.Tuple(elts=elements):
            return tuple(_value_of(element) for element in elements)
        case ast.List(elts=elements):
            return [_value_of(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            if None in keys:
                raise _Refused(node)
            return {_value_of(key): _value_of(value) for key, value in zip(keys, values, strict=True) if key}
        case ast.Call(func=ast.Name(id='dict'), args=args, keywords=keywords) if len(args) <= 1:
            settings = _value_of(args[0]) if args else {}
            if not isinstance(settings, dict) or any(keyword.arg is None for keyword in keywords):
                raise _Refused(node)
            return {**settings, **{keyword.arg: _value_of(keyword.value) for keyword in keywords}}
    raise _Refused(node)
