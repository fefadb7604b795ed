"""Sets as REFER distributes them: a pickle of refs beside COCO instances."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .output import Conversion, RefTable, read_json, short, take, write_set
from .safe_pickle import load_refs

USUAL_IMAGES = Path('images', 'mscoco', 'images', 'train2014')


def convert_refer(
    root: Path, dataset: str, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Convert ``<root>/<dataset>/refs(<split_by>).p`` and ``instances.json`` to a prepared folder.

    Equal files give an equal folder. A failed or interrupted conversion leaves no part of it.

    Example:
        >>> convert_refer(Path('refer/data'), 'refcoco', 'unc', Path('data/refcoco_unc')).counts['val']
        (3811, 10834, 1500)

    Args:
        root: Folder that holds the folders of the sets.
        dataset: ``refcoco``, ``refcoco+``, ``refcocog`` ...
        split_by: ``unc``, ``google``, ``umd`` ...
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links. Default: ``<root>/images/mscoco/images/train2014``.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    refs_file = root / dataset / f'refs({split_by}).p'
    if not refs_file.is_file():
        there = ', '.join(sorted(file.relative_to(root).as_posix() for file in root.glob('*/refs(*).p')))
        if there:
            raise DataError(f'{refs_file}: no such file; give --dataset and --split-by of one that is there: {there}')
        raise DataError(
            f'{refs_file}: no such file, nor any */refs(*).p in {root}: give the folder that holds the sets as ROOT'
        )
    return convert_records(
        load_refs(refs_file), refs_file, _one_object, out, root / USUAL_IMAGES if images is None else images, overwrite
    )


def convert_records(
    records: list[dict[str, Any]],
    refs_file: Path,
    objects: Callable[[dict[str, Any], str], tuple[list[int], int | None]],
    out: Path,
    images: Path,
    overwrite: bool,
) -> Conversion:
    """Convert refs with ``instances.json`` beside their file.

    Args:
        records: The refs of the file.
        refs_file: Their file.
        objects: Gives the annotations and the category of a ref; takes the ref, and where it is for messages.
        out: The prepared folder.
        images: Folder of the images.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    table = RefTable()
    for number, record in enumerate(records):
        named = record.get('ref_id')
        where = f'{refs_file}, ref {f"number {number}" if named is None else short(named)}'
        ann_ids, category_id = objects(record, where)
        table.add(record, ann_ids, category_id, take(record, 'sentences', list, where), where)
    instances_file = refs_file.with_name('instances.json')
    content = read_json(instances_file, f'it is distributed beside {refs_file.name}: download it')
    return write_set(table, content, (refs_file, instances_file), out, images, overwrite)


def _one_object(record: dict[str, Any], where: str) -> tuple[list[int], int]:
    return [take(record, 'ann_id', int, where)], take(record, 'category_id', int, where)
