"""Prepared dataset folders, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..indexed_file import INDEX

ENTRIES = ('images', 'instances.json', 'refs.jsonl')
"""What a prepared folder holds; a dataset adds `INDEX`."""


@contextmanager
def prepared_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to write a set into, which becomes `out` when the block ends without an error.

    It lies beside `out` as ``<out>.partial-<pid>`` and is removed when something goes wrong.

    Args:
        out: Folder of the set.
        overwrite: Replace a set that is there.

    Raises:
        FileExistsError: `out` holds something (and `overwrite` is off, or it is not a prepared folder).
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out}: is a file, not a folder: give another --out')
    entries = {path.name for path in out.iterdir()} if out.exists() else set()
    if entries and not overwrite:
        raise FileExistsError(f'{out}: holds other content: give another --out, or --overwrite to replace it')
    if strange := sorted(entries - {*ENTRIES, INDEX}):
        other = strange[0]
        raise FileExistsError(f'{out}: holds {other}, not part of a dataset: not overwritten, remove it first')
    partial = out.with_name(f'{out.name}.partial-{os.getpid()}')
    replaced = out.with_name(f'{out.name}.replaced-{os.getpid()}')
    partial.mkdir(parents=True)
    try:
        yield partial
        if entries:
            out.rename(replaced)
        partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if replaced.exists() and not out.exists():
            replaced.rename(out)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
