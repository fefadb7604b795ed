"""The checkpoint that an interrupted training resumes from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from .checkpoint import load_file
from .errors import CheckpointError

PATTERNS = ('epoch_*.pth', 'iter_*.pth')
"""Names that MMEngine's CheckpointHook gives."""


def latest_checkpoint(work_dir: str | Path) -> tuple[Path, Any] | None:
    """Path and content of the newest whole checkpoint in the folder of a training.

    Files are found by name and time. ``last_checkpoint``, where MMEngine notes a full path, only adds a file of
    another name: the folder may have been moved or copied, and a training may end before the note is written. A noted
    file elsewhere counts only if this folder has none, and if its folder has the same name (`CheckpointHook`'s
    ``out_dir``).

    Returns:
        None if there is no checkpoint, or no such folder.

    Raises:
        CheckpointError: If there are checkpoints and none is whole.
    """
    work_dir = Path(work_dir)
    found = {path for pattern in PATTERNS for path in work_dir.glob(pattern)}
    note = work_dir / 'last_checkpoint'
    if note.is_file():
        noted = Path(note.read_text().strip() or '.')
        here = work_dir / noted.name
        if here.suffix == '.pth' and here.is_file():
            found.add(here)
        elif not found and noted.suffix == '.pth' and noted.parent.name == work_dir.resolve().name and noted.is_file():
            found.add(noted)
    broken = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            content = load_file(path)
        except CheckpointError as error:
            broken.append(error)
            continue
        for cause in broken:
            print_log(f'passed over: {cause}', logger='current', level=logging.WARNING)
        return path, content
    if broken:
        raise broken[0]
    return None
