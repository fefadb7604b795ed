"""Readers of what mmmagnet keeps or downloads itself: prepared folders, their indexes, and archives."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from layouts import instances, refs
from sources import write_files

from mmmagnet.datasets import RefCOCODataset, json_arrays
from mmmagnet.utils.errors import DataError

DOWNLOAD = Path(__file__).parents[2] / 'tools' / 'download.py'
LIMIT = 5000  # bytes that an archive may have; `mutation.HOSTILE` has longer texts


class Reader(NamedTuple):
    """Files, and who reads them.

    Attributes:
        files: Path -> content, of which one is mutated.
        read: Takes the folder of the files and a path for an output.
    """

    files: dict[str, Any]
    read: Callable[[Path, Path], Any]


def prepared() -> dict[str, Any]:
    """The files of a prepared folder, with a ref that means nothing of its image."""
    lines = [{**ref, 'ann_ids': [ref.pop('ann_id')]} for ref in refs()]
    said = [{'raw': 'it', 'sent_id': 9}]
    lines.append({**lines[0], 'split': 'train', 'sentences': said, 'ref_id': 5, 'ann_ids': []})
    return {'refs.jsonl': lines, 'instances.json': instances()}


def items(folder: Path) -> str:
    """All items of a prepared folder whose files seem to be the same at every call."""
    if not (folder / 'refs.jsonl').exists():
        write_files(folder, prepared())
    for name in prepared():
        os.utime(folder / name, ns=(1, 1))
    sets = [RefCOCODataset(str(folder), split=split, test_mode=test) for split in ('train', 'val') for test in (0, 1)]
    return repr([each.get_data_info(k) for each in sets for k in range(len(each))]).replace(str(folder), '')


def index_reader() -> Reader:
    """Indexes: whatever is in them, items are those of the set."""
    with tempfile.TemporaryDirectory() as folder:
        expected = items(Path(folder))
        files = {f'index/{path.name}': safetensors_parts(path) for path in sorted(Path(folder, 'index').iterdir())}

    def read(folder: Path, _: Path) -> None:
        assert items(folder) == expected, 'other items'

    return Reader(files, read)


def safetensors_parts(path: Path) -> tuple[Any, bytes]:
    """Header and numbers."""
    data = path.read_bytes()
    end = 8 + struct.unpack('<Q', data[:8])[0]
    return json.loads(data[8:end]), data[end:]


def read_arrays(path: Path, names: tuple[str, str] = ('images', 'annotations')) -> None:
    """Elements of arrays, piece by piece: those of a plain reading, at their places."""
    try:
        with mock.patch.object(json_arrays, 'PIECE', 16):
            found = [(name, first, size) for name, first, size, _ in json_arrays.array_elements(path, names)]
    except (KeyError, ValueError, RecursionError) as error:
        raise DataError(f'{path}: {error}') from error
    data = path.read_bytes()
    whole = json.loads(data.decode())
    plain = [(name, element) for name in whole if name in names for element in whole[name]]
    assert repr([(name, json.loads(data[first : first + size])) for name, first, size in found]) == repr(plain)


def archive_reader(name: str) -> Reader:
    """A downloaded archive: unpacked to plain files of bounded size, or nothing is left of it."""
    spec = importlib.util.spec_from_file_location('download', DOWNLOAD)
    assert spec and spec.loader
    tool: Any = importlib.util.module_from_spec(spec)
    sys.modules['download'] = tool  # dataclasses look there
    spec.loader.exec_module(tool)
    source = tool.Source('', '', {name: ''}, {'refs(unc).p': '', 'instances.json': ''}, '')
    plain = {'type': '0', 'link': '', 'data': 'x' * 40}
    members = [{**plain, 'name': f'a/{file}'} for file in (*source.files, 'b/more')]
    members.append({**plain, 'name': 'a/c', 'type': '5', 'data': ''})

    def read(folder: Path, out: Path) -> None:
        instead = {'receive': lambda _, part: shutil.copy(folder / name, part), 'LIMIT': LIMIT}
        try:
            with mock.patch.multiple(tool, **instead), contextlib.redirect_stdout(io.StringIO()):
                tool.fetch(name, source, out)
        except OSError as error:
            kept = set() if isinstance(error, tool.AddressError) else {f'{name}.part'}  # the disk is to blame
            left = {path.name for path in out.parent.rglob('*')} - kept
            assert not left, f'left behind: {left}'
            raise
        made = [*out.rglob('*')]
        assert all(not path.is_symlink() and (path.is_file() or path.is_dir()) for path in made), 'not plain'
        assert sum(path.stat().st_size for path in made if path.is_file()) <= LIMIT, 'too large'
        assert [*out.parent.iterdir()] == [out], 'left behind'

    return Reader({name: members}, read)
