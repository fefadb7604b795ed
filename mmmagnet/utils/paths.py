"""Paths of models that configs name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from .errors import DataError

_SCHEME = 'package://'


def package_root() -> Path:
    """Folder that holds `configs` and `tools`: the checkout, or ``mmmagnet/.mim`` of an installed package."""
    package = Path(__file__).parents[1]
    carried = package / '.mim'
    return carried if carried.is_dir() else package.parent


def resolve_model_path(name: str) -> str:
    """Folder that ``package://module/sub/folder`` names; any other name unchanged.

    The package is located, not imported.

    Args:
        name: A folder, the name of a model on a hub, or ``package://module/sub/folder``.

    Raises:
        DataError: If the package is not installed or has no such folder.

    Example:
        >>> resolve_model_path('bert-base-uncased')
        'bert-base-uncased'
    """
    if not name.startswith(_SCHEME):
        return name
    module, _, rest = name.removeprefix(_SCHEME).partition('/')
    if not module.isidentifier():  # to find a.b, a would be imported
        raise DataError(f'{name}: names no package; write package://module/sub/folder')
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f'{name}: package {module} is not installed; pip install {module.replace("_", "-")}')
    for location in spec.submodule_search_locations:
        folder = Path(location, rest)
        if folder.is_dir():
            return str(folder)
    raise DataError(f'{name}: package {module} has no folder {rest!r}')
