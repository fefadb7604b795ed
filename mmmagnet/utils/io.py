"""Files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | Path, mode: str = 'w') -> Iterator[IO[Any]]:
    """An open file that becomes `path` when the block ends without an error.

    The bytes go to ``<path>.<random>.part`` in the same folder and reach the disk before the rename. After an error, or
    a kill, `path` is what it was before. An error removes the part; only a kill can leave it behind.

    Example:
        >>> with atomic_write('scores.jsonl') as file:
        ...     file.write('{}\\n')

    Args:
        path: File to write. Its folder is made if it is missing.
        mode: ``w`` for text in UTF-8 with Unix line ends, ``wb`` for bytes.

    Yields:
        The open file.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.{secrets.token_hex(8)}.part')  # another machine may have this process's id
    text: dict[str, Any] = {} if 'b' in mode else {'encoding': 'utf-8', 'newline': '\n'}
    try:
        with part.open(mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, whole or not at all.

    Args:
        path: File to write.
        content: What `json.dumps` takes.

    Raises:
        OSError: If the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2) + '\n')


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
