"""gRefCOCO, whose expressions mean several things, one, or nothing, turned into a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .output import Conversion, matching_instances, plain_ref, read_json, take, write_set
from .refer import USUAL_IMAGES


def convert_grefcoco(
    root: Path, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Turn ``<root>/grefcoco/grefs(<split_by>).json`` and ``instances.json`` into a prepared folder.

    A ref without target has ``ann_ids: []``. A failed or interrupted conversion leaves no part of it.

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
    refs, blank = [], 0
    for number, record in enumerate(records):
        where = f'{refs_file}, ref {record.get("ref_id", f"number {number}")!s:.40}'
        ann_ids, categories = (_ids(record, field, where) for field in ('ann_id', 'category_id'))
        category_id = categories[0] if len(set(categories)) == 1 else None
        ref, left_out = plain_ref(record, ann_ids, category_id, take(record, 'sentences', list, where), where)
        refs.append(ref)
        blank += left_out
    instances_file = refs_file.with_name('instances.json')
    content = read_json(instances_file, f'it is distributed beside {name}: download it')
    instances = matching_instances(content, instances_file, refs, refs_file)
    images = refs_file.parent.parent / USUAL_IMAGES if images is None else images  # ROOT may be grefcoco/ itself
    return write_set(refs, instances, out, images, overwrite, blank)


def _ids(record: dict[str, Any], field: str, where: str) -> list[int]:
    """Ids of a field, one or a list of them; -1 stands for none."""
    value = record.get(field)
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(each) is int for each in ids):
        raise DataError(
            f'{where}: field {field} is {value!r:.60}; expected ids, or -1 for none: download the file again'
        )
    return [each for each in dict.fromkeys(ids) if each != -1]
