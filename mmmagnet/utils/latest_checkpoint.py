"""Where an interrupted training goes on."""

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
    """The newest whole checkpoint in the folder of a training, and what it holds.

    ``last_checkpoint``, where MMEngine notes the last one by its full path, only adds to what is found by name: the
    folder may have been moved or copied, and a training may end before the note is written. Another folder is believed
    only where this one has none, and only if it is of the same name (`CheckpointHook`'s ``out_dir``). A folder
    (DeepSpeed, FSDP in parts) is taken as it is, without its content.

    Returns:
        None if there is none, or no such folder.

    Raises:
        CheckpointError: If there are some, and none is whole.
    """
    work_dir = Path(work_dir)
    found = {path for pattern in PATTERNS for path in work_dir.glob(pattern)}
    note = work_dir / 'last_checkpoint'
    if note.is_file():
        noted = Path(note.read_text().strip() or '.')
        here = work_dir / noted.name
        if here.suffix == '.pth' and here.exists():
            found.add(here)
        elif not found and noted.suffix == '.pth' and noted.parent.name == work_dir.resolve().name and noted.exists():
            found.add(noted)
    broken = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        if path.is_dir():
            return path, None
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
