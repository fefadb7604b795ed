"""Which layout a file looks like, for the message where another one is expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LARGEST = 2**27  # bytes of a file that is read only to name its layout
_SUFFIXES = {
    '.p': ("REFER's", 'refer.py'),
    '.pkl': ("REFER's", 'refer.py'),
    '.pickle': ("REFER's", 'refer.py'),
    '.parquet': ('a parquet file of refs', 'parquet.py'),
    '.csv': ('a table of your own', 'custom.py'),
    '.jsonl': ('a table of your own', 'custom.py'),
}


def layout_hint(path: Path, content: Any = None) -> str:
    """The end of a message: what a file looks like and which command reads it.

    Example:
        >>> layout_hint(Path('refs(unc).p'))
        ": it looks like REFER's: use tools/dataset_converters/refer.py"

    Args:
        path: File, or folder of files of one layout.
        content: Of the file, where it has been read as JSON.

    Returns:
        Text from the colon on; empty where the layout is not known.
    """
    found = _of_content(content) or _SUFFIXES.get(path.suffix.lower())
    if found is None and path.is_dir():
        found = _of_folder(path)
    elif found is None and content is None and path.suffix == '.json':
        found = _of_content(_read(path))
    if found is None:
        return ''
    name, tool = found
    return f': it looks like {name}: ' + (f'use tools/dataset_converters/{tool}' if tool else 'no converter reads it')


def _of_content(content: Any) -> tuple[str, str] | None:
    """Name and command of a layout, by the fields of JSON content."""
    if isinstance(content, list):
        entry = content[0] if content and isinstance(content[0], dict) else {}
        if {'segment_id', 'img_name'} <= entry.keys():
            return "CRIS's", 'cris.py'
        if {'Polygons', 'phrase'} <= entry.keys():
            return "PhraseCut's", ''
        if {'ref_id', 'sentences'} <= entry.keys():
            return ("gRefCOCO's", 'grefcoco.py') if 'no_target' in entry else ("REFER's", 'refer.py')
        return None
    if not isinstance(content, dict):
        return None
    if {'shapes', 'imagePath'} <= content.keys():
        return 'a file of LabelMe', 'custom.py with its folder'
    first = {name: _first(content.get(name)) for name in content}
    if 'descriptions' in first.get('annotations', {}):
        return "aRefCOCO's", ''
    if {'images', 'annotations'} <= content.keys():
        mdetr = {'caption', 'original_id'} <= first['images'].keys()
        return ("MDETR's", 'mdetr.py') if mdetr else ('COCO instances', 'custom.py')
    if any('expressions' in entry for entry in first.values()):
        return "SeqTR's", 'seqtr.py'
    return None


def _first(records: Any) -> dict[str, Any]:
    return records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}


def _of_folder(folder: Path) -> tuple[str, str] | None:
    if (folder / 'anns').is_dir() and (folder / 'masks').is_dir():
        return "CRIS's", 'cris.py'
    for pattern, found in (
        ('grefs(*).json', ("gRefCOCO's", 'grefcoco.py')),
        ('*(*).p', ("REFER's", 'refer.py')),
        ('*.parquet', ('parquet files of refs', 'parquet.py')),
    ):
        if any(folder.glob(pattern)) or any(folder.glob(f'*/{pattern}')):
            return found
    file = next(iter(sorted(folder.glob('*.json'))), None)
    return None if file is None else _of_content(_read(file))


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
