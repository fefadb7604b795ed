"""Names of image files, as they are in the folder of the images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_COCO = re.compile(r'COCO_(train2014|val2014)_(\d{12}\.jpg)')


def place_images(folder: Path, out: Path, images: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Give images the names under which they are in a folder.

    COCO's images of 2014 are found in folders ``train2014`` and ``val2014`` in it, too, and under their names of 2017.

    Args:
        folder: Folder of the images.
        out: The prepared folder, for messages.
        images: Entries with ``file_name``.

    Returns:
        The entries, and what the user should know, one sentence each.
    """
    if not folder.is_dir():
        missing = f'{folder}: no such folder, so no images are linked; once it is there: ln -s FOLDER {out / "images"}'
        return images, [missing]
    placed, absent, renamed = [], [], []
    for image in images:
        file_name = next((name for name in _names(image['file_name']) if (folder / name).is_file()), None)
        if file_name is None:
            absent.append(image['file_name'])
        elif file_name != image['file_name']:
            renamed.append(file_name)
        placed.append({**image, 'file_name': file_name or image['file_name']})
    told = []
    if renamed:
        told.append(f'{folder}: {len(renamed)} of {len(images)} images have another name there, as {renamed[0]}')
    if absent:
        told.append(f'{folder}: {len(absent)} of {len(images)} images are not there, the first is {absent[0]}')
    return placed, told


def _names(file_name: str) -> list[str]:
    found = _COCO.fullmatch(file_name)
    return [file_name, f'{found[1]}/{file_name}', found[2]] if found else [file_name]
