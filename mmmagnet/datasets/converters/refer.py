"""Sets as REFER distributes them (a pickle of refs beside COCO instances), turned into a prepared folder."""

from __future__ import annotations

from pathlib import Path

from mmmagnet.utils.errors import DataError

from .output import Conversion, matching_instances, plain_ref, read_json, take, write_set
from .safe_pickle import load_refs

USUAL_IMAGES = Path('images', 'mscoco', 'images', 'train2014')


def convert_refer(
    root: Path, dataset: str, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Turn ``<root>/<dataset>/refs(<split_by>).p`` and ``instances.json`` into a prepared folder.

    Equal files give an equal folder. A failed or interrupted conversion leaves no part of it.

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
    refs_file = _find_refs(root, dataset, split_by)
    refs, blank = [], 0
    for number, record in enumerate(load_refs(refs_file)):
        where = f'{refs_file}, ref {record.get("ref_id", f"number {number}")!s:.40}'
        ann_id, category_id = (take(record, name, int, where) for name in ('ann_id', 'category_id'))
        ref, left_out = plain_ref(record, [ann_id], category_id, take(record, 'sentences', list, where), where)
        refs.append(ref)
        blank += left_out
    instances_file = refs_file.with_name('instances.json')
    content = read_json(instances_file, f'it is distributed beside {refs_file.name}: download it')
    instances = matching_instances(content, instances_file, refs, refs_file)
    return write_set(refs, instances, out, root / USUAL_IMAGES if images is None else images, overwrite, blank)


def _find_refs(root: Path, dataset: str, split_by: str) -> Path:
    path = root / dataset / f'refs({split_by}).p'
    if path.is_file():
        return path
    there = sorted(file.relative_to(root).as_posix() for file in root.glob('*/refs(*).p'))
    if there:
        raise DataError(f'{path}: no such file; give --dataset and --split-by of one that is there: {", ".join(there)}')
    raise DataError(f'{path}: no such file, nor any */refs(*).p in {root}: give the folder that holds the sets as ROOT')
