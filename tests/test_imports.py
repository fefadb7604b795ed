"""Imports go downwards only (DESIGN section 3): a room reads those below it, never those beside or above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / 'mmmagnet'
# what each room may read, beside itself
BELOW = {
    'registry': set(),
    'utils': {'registry'},
    'models': {'utils', 'registry'},
    'datasets': {'utils', 'registry'},
    'evaluation': {'utils', 'registry'},
    'visualization': {'utils', 'registry'},
    'model_converters': {'models', 'utils', 'registry'},
    'engine': {'datasets', 'models', 'evaluation', 'visualization', 'model_converters', 'utils', 'registry'},
    'apis': {'datasets', 'models', 'evaluation', 'visualization', 'model_converters', 'utils', 'registry'},
}


def rooms_read(path):
    """Rooms of mmmagnet that a file imports, wherever in the file."""
    package = ('mmmagnet', *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*above, *([node.module] if node.module else [])])
            modules = [module] if module != 'mmmagnet' else [f'mmmagnet.{alias.name}' for alias in node.names]
        else:
            continue
        yield from (name.split('.')[1] for name in modules if name.startswith('mmmagnet.'))


@pytest.mark.parametrize('room', BELOW)
def test_a_room_reads_only_those_below(room):
    files = sorted((ROOT / room).rglob('*.py')) or [ROOT / f'{room}.py']
    wrong = {
        f'{path.relative_to(ROOT)} reads {other}'
        for path in files
        for other in rooms_read(path)
        if other != room and other not in BELOW[room]
    }
    assert wrong == set()


def test_every_room_is_named():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == '.py' or (path / '__init__.py').is_file()}
    assert rooms - {'__init__'} == set(BELOW)
