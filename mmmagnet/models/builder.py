"""Building the parts of a network, each with the sizes that it takes from the other parts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmmagnet.registry import MODELS


def build_part(config: dict, known: Mapping[str, Any]) -> Any:
    """Build a registered module, and fill in the constructor arguments that its config leaves out.

    A head of mmseg has an ``in_index``, which names one map or several: it gets the channels of these maps only.

    Args:
        config: Config of the module, with `type`.
        known: Values that the other parts of the network determine, by argument name, such as ``text_channels``.

    Raises:
        KeyError: If the type is not registered.
        ValueError: If the config contradicts `known`, or ``in_index`` names a map that does not exist.
    """
    part = MODELS.get(config['type']) if isinstance(config['type'], str) else config['type']
    if part is None:
        raise KeyError(f'{config["type"]} is not registered: name its package in custom_imports of the config')
    asked = _parameters(part)
    given = {name: value for name, value in known.items() if name in asked}
    if 'in_index' in asked and 'in_channels' in given:
        index, channels = config.get('in_index', asked['in_index'].default), given['in_channels']
        indices = [index] if isinstance(index, int) else index
        if not all(-len(channels) <= i < len(channels) for i in indices):
            raise ValueError(f'{config["type"]}: in_index={index}, but there are {len(channels)} maps, from 0')
        given['in_channels'] = channels[index] if isinstance(index, int) else [channels[i] for i in index]
    for name, value in given.items():
        if value is not None and name in config and not _same(config[name], value):
            raise ValueError(
                f'{config["type"]}: {name}={config[name]}, but what it reads has {value}; leave {name} out'
            )
    return MODELS.build({**given, **config})


def _same(one: Any, other: Any) -> bool:
    sequences = (list, tuple)
    if isinstance(one, sequences) and isinstance(other, sequences):
        return list(one) == list(other)
    return one == other


def _parameters(part: type) -> dict[str, inspect.Parameter]:
    """Arguments of a constructor, and those that it passes on to its base class as keywords."""
    found: dict[str, inspect.Parameter] = {}
    for base in part.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = inspect.signature(vars(base)['__init__']).parameters
        found = {**parameters, **found}
        if all(parameter.kind != inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return found
