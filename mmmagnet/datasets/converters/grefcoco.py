"""gRefCOCO, whose expressions refer to several objects, one, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .output import Conversion, read_json, short
from .refer import USUAL_IMAGES, convert_records


def convert_grefcoco(
    root: Path, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Convert ``<root>/grefcoco/grefs(<split_by>).json`` and ``instances.json`` to a prepared folder.

    A ref without target has ``ann_ids: []``. A failed or interrupted conversion leaves no part of it.

    Example:
        >>> convert_grefcoco(Path('refer/data'), 'unc', Path('data/grefcoco_unc'))

    Args:
        root: Folder that holds ``grefcoco``, or that folder itself.
        split_by: ``unc``.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links. Default: ``<root>/images/mscoco/images/train2014``.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    name = f'grefs({split_by}).json'
    places = [root / 'grefcoco' / name, root / name]
    refs_file = next((place for place in places if place.is_file()), None)
    if refs_file is None:
        raise DataError(f'{places[0]}: no such file, nor {places[1]}: give the folder that holds grefcoco/ as ROOT')
    records = read_json(refs_file)
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise DataError(f'{refs_file}: not a list of refs: download it again')
    images = refs_file.parent.parent / USUAL_IMAGES if images is None else images  # ROOT may be grefcoco/ itself
    return convert_records(records, refs_file, _objects, out, images, overwrite)


def _objects(record: dict[str, Any], where: str) -> tuple[list[int], int | None]:
    ann_ids, categories = (_ids(record, field, where) for field in ('ann_id', 'category_id'))
    return ann_ids, categories[0] if len(categories) == 1 else None


def _ids(record: dict[str, Any], field: str, where: str) -> list[int]:
    """Distinct ids of a field, which holds one or a list of them; -1 stands for none."""
    value = record.get(field)
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(each) is int for each in ids):
        raise DataError(
            f'{where}: field {field} is {short(value)}; expected ids, or -1 for none: download the file again'
        )
    return [each for each in dict.fromkeys(ids) if each != -1]
