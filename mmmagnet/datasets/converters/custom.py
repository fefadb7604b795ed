"""People's own data, of whichever of three forms it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmmagnet.utils.errors import DataError

from .custom_coco import read_coco
from .labelme import read_labelme
from .layouts import layout_hint
from .output import Conversion
from .own_data import OwnSet
from .table import read_table

_READERS: dict[str, Callable[..., OwnSet]] = {
    'folder': read_labelme,
    '.json': read_coco,
    '.csv': read_table,
    '.tsv': read_table,
    '.jsonl': read_table,
    '.ndjson': read_table,
}


def convert_custom(
    sources: Sequence[tuple[str | None, Path]],
    out: Path,
    images: Path,
    overwrite: bool = False,
    field: str | None = None,
    val_share: float = 0.2,
) -> Conversion:
    """Convert COCO JSON files, folders of LabelMe files, or tables to a prepared folder.

    Example:
        >>> convert_custom([('train', Path('a.json')), ('val', Path('b.json'))], Path('data/mine'), Path('photographs'))

    Args:
        sources: Split and file or folder, all of one form; None for one of which a share becomes val.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.
        field: Where the words are; see the readers.
        val_share: Share of images that become val where no split is told.

    Raises:
        DataError: If a source is missing or damaged, of another form, or without words.
        OSError: If `out` cannot be written or replaced.
    """
    readers = set()
    for _, path in sources:
        if not path.exists():
            raise DataError(f'{path}: no such file or folder')
        form = 'folder' if path.is_dir() else path.suffix.lower()
        if form not in _READERS:
            fix = layout_hint(path) or ': give COCO .json, a folder of LabelMe files, .csv or .jsonl'
            raise DataError(f'{path}: not a form of data that this command reads{fix}')
        readers.add(_READERS[form])
    if len(readers) > 1:
        raise DataError(f'{sources[0][1]}: is of another form than {sources[-1][1]}: convert sources of one form')
    found = readers.pop()(sources, images, field)
    conversion = found.write(sources[0][1], out, images, overwrite, val_share)
    if 'train' not in conversion.counts:
        splits = ', '.join(conversion.counts)
        conversion.warnings.append(f'no ref is of the split train, which training reads; the splits are {splits}')
    return conversion


def sources_by_split(given: Sequence[str]) -> list[tuple[str | None, Path]]:
    """Split and path, of names like ``val=val.json`` or ``mine.json``.

    Raises:
        DataError: If two have the same split.
    """
    found: list[tuple[str | None, Path]] = []
    for name in given:
        split, named, path = name.partition('=')
        told = named and split and not Path(name).exists()
        found.append((split, Path(path)) if told else (None, Path(name)))
        if told and [each for each, _ in found].count(split) > 1:
            raise DataError(f'{path}: a second source of the split {split}')
    return found
