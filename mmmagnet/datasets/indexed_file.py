"""Files whose records are read one by one, from places that a memory-mapped index knows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mmmagnet.utils.errors import DataError
from mmmagnet.utils.io import atomic_write

VERSION = 2  # of the columns
INDEX = 'index'
"""Folder of the indexes, beside the files."""


class IndexedFile(ABC):
    """A file of JSON records, and columns of numbers about them.

    The columns are read from the file once and kept as ``index/<stem>.safetensors`` beside it, or in
    ``~/.cache/mmmagnet`` if that folder cannot be written. They are memory-mapped: all processes of a machine share
    them, and the system may take the memory of the parts that are not used. A file of another size or time gets another
    index, and so does one whose index is damaged.

    A copy in another process opens both files again.

    Args:
        path: The file.
        stamp: Size and time that the file must have. Default: any.

    Attributes:
        columns: Arrays by name.
        size: Bytes of the file.

    Raises:
        DataError: If the file is missing or damaged, or is not the one of `stamp`.
    """

    missing: ClassVar[str]
    """What to do about a missing file."""

    def __init__(self, path: Path, stamp: str | None = None) -> None:
        if not path.is_file():
            raise DataError(f'{path}: {self.missing}')
        self.path = path
        file = path.open('rb', buffering=0)
        weakref.finalize(self, file.close)
        self._file = file.fileno()
        status = os.fstat(self._file)
        self.size = status.st_size
        self._stamp = f'{status.st_size} {status.st_mtime_ns}'
        if stamp not in (None, self._stamp):
            raise self.changed()
        self.columns = self._index()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._stamp)

    @abstractmethod
    def scan(self) -> dict[str, np.ndarray]:
        """Read the columns from the file."""

    def record(self, first: int, size: int) -> Any:
        """The JSON value in `size` bytes from byte `first` on."""
        try:
            return json.loads(_read_at(self._file, size, first).decode())
        except (ValueError, RecursionError):
            raise self.changed() from None

    def changed(self) -> DataError:
        """The error of a file that is not the one of the index any more."""
        return DataError(f'{self.path}: has changed since it was opened; start again, and delete {INDEX}/ if it recurs')

    def _index(self) -> dict[str, np.ndarray]:
        made_of = f'{VERSION} {self.path.name} {self._stamp}'
        places = list(_places(self.path.absolute()))
        for place in places:
            columns = _mapped(place, made_of)
            if columns is not None:
                return columns
        start = time.monotonic()
        columns = self.scan()
        for place in places:
            with contextlib.suppress(OSError, SafetensorError):
                with atomic_write(place, 'wb') as file:
                    about = {'made_of': made_of, 'checksum': _checksum(columns)}
                    save_file(columns, file.name, about)  # puts another file there, for its owner only
                    Path(file.name).chmod(os.fstat(file.fileno()).st_mode)
                seconds = time.monotonic() - start
                if seconds > 1:
                    print_log(f'{place}: written in {seconds:.0f} s, for all later starts', 'current')
                return _mapped(place, made_of) or columns
        print_log(
            f'{places[0]}: cannot be written, so every process reads the whole set and holds its index', 'current'
        )
        return columns


def _places(path: Path) -> Iterator[Path]:
    """Where the index of a file may be, the best place first."""
    name = f'{path.stem}.safetensors'
    yield path.parent / INDEX / name
    with contextlib.suppress(RuntimeError):  # a user without a home
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        yield cache / 'mmmagnet' / hashlib.sha256(os.fsencode(path)).hexdigest()[:16] / name


def _mapped(place: Path, made_of: str) -> dict[str, np.ndarray] | None:
    """Memory-mapped columns; None if they are missing, damaged, or of another file."""
    try:
        with safe_open(place, 'pt') as file:  # as 'numpy' it would copy them
            about = file.metadata() or {}
            if about.get('made_of') == made_of:
                columns = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
                if about.get('checksum') == _checksum(columns):
                    return columns
    except Exception:  # safetensors, PyTorch and NumPy each raise their own kinds on a damaged file
        pass
    return None


def _checksum(columns: dict[str, np.ndarray]) -> str:
    """Of names, kinds and numbers; a gigabyte takes half a second."""
    checksum = 0
    for name, column in sorted(columns.items()):
        checksum = zlib.crc32(column.data, zlib.crc32(f'{name} {column.dtype} {column.shape} '.encode(), checksum))
    return str(checksum)


def _read_at(file: int, size: int, first: int) -> bytes:
    if hasattr(os, 'pread'):
        return os.pread(file, size, first)  # forked processes share the file's position, so it must not matter
    os.lseek(file, first, os.SEEK_SET)
    return os.read(file, size)
