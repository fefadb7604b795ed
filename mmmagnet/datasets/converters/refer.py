"""Sets as REFER distributes them: a pickle of refs beside COCO instances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .ids import number_ids
from .layouts import layout_hint
from .output import Conversion, RefTable, write_set
from .reading import read_json, refuse_flags, short, take
from .safe_pickle import load_refs

USUAL_IMAGES = ('images/mscoco/images/train2014', 'images/train2014')
OTHER_IMAGES = {'rrsisd': ('images/rrsisd/JPEGImages',), 'refclef': ('images/saiapr_tc-12',)}


def convert_refer(
    root: Path, dataset: str, split_by: str, out: Path, images: Path | None = None, overwrite: bool = False
) -> Conversion:
    """Convert ``<root>/<dataset>/refs(<split_by>).p`` and ``instances.json`` to a prepared folder.

    Other names that end in ``(<split_by>).p`` or ``(<split_by>).json`` are found, too, as ``Ref-ZOM(final).p``. Equal
    files give an equal folder. A failed or interrupted conversion leaves no part of it.

    Example:
        >>> convert_refer(Path('refer/data'), 'refcoco', 'unc', Path('data/refcoco_unc')).counts['val']
        (3811, 10834, 1500)

    Args:
        root: Folder that holds the folders of the sets.
        dataset: ``refcoco``, ``refcoco+``, ``refcocog``, ``refclef``, ``rrsisd`` ...
        split_by: ``unc``, ``google``, ``umd`` ...
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links. Default: where REFER has them under `root`.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    refs_file = _find_refs(root, dataset, split_by)
    records = load_refs(refs_file) if refs_file.suffix == '.p' else list_of_refs(refs_file)
    if images is None:
        images = usual_images(root, OTHER_IMAGES.get(dataset, USUAL_IMAGES))
    return convert_records(records, refs_file, out, images, overwrite)


def _find_refs(root: Path, dataset: str, split_by: str) -> Path:
    """The file of refs of a set; raises DataError if there is none, or several."""
    folder = root / dataset
    usual = folder / f'refs({split_by}).p'
    if usual.is_file():
        return usual
    endings = (f'({split_by}).p', f'({split_by}).json')
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in there if path.name.endswith(endings) and not path.name.startswith('grefs(')]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f'{folder}: has {" and ".join(path.name for path in found)}: leave the one that is meant')
    others = ', '.join(sorted(file.relative_to(root).as_posix() for file in root.glob('*/*(*).p')))
    if others:
        raise DataError(f'{usual}: no such file; give --dataset and --split-by of one that is there: {others}')
    hint = next((hint for hint in map(layout_hint, (folder, root)) if hint), '')
    raise DataError(
        f'{usual}: no such file, nor any */refs(*).p in {root}'
        + (f'{hint}' if hint else ': give the folder that holds the sets as ROOT')
    )


def list_of_refs(path: Path) -> list[dict[str, Any]]:
    """The refs of a JSON file.

    Raises:
        DataError: If it is missing, damaged, or of another layout.
    """
    records = read_json(path)
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise DataError(f'{path}: not a list of refs{layout_hint(path, records) or ": download it again"}')
    if 'ref_id' not in records[0] and layout_hint(path, records):
        raise DataError(f'{path}: not a list of refs{layout_hint(path, records)}')
    return records


def usual_images(root: Path, places: tuple[str, ...] = USUAL_IMAGES) -> Path:
    """The first folder of images that is there, else the first of the places."""
    return next((root / place for place in places if (root / place).is_dir()), root / places[0])


def convert_records(
    records: list[dict[str, Any]],
    refs_file: Path,
    out: Path,
    images: Path,
    overwrite: bool,
    leave_crowds: bool = False,
) -> Conversion:
    """Convert refs with ``instances.json`` beside their file.

    Read are: one annotation or a list of them, -1, ``no_target`` and Ref-ZOM's ``source: 'zero'`` for no object, and
    R-RefCOCO's ``exist`` of sentences. A sentence that does not exist becomes one of a ref without objects.

    Args:
        records: The refs of the file.
        refs_file: Their file.
        out: The prepared folder.
        images: Folder of the images.
        overwrite: Replace a prepared folder that is there.
        leave_crowds: Leave annotations out that are ``iscrowd``, where a ref has others, as ReLA does.

    Raises:
        DataError: If a file is missing or damaged, or a ref names what is not there.
        OSError: If `out` cannot be written or replaced.
    """
    instances_file = refs_file.with_name('instances.json')
    content = read_json(instances_file, f'it is distributed beside {refs_file.name}: download it')
    number_ids(records, content)
    crowds = _crowds(content) if leave_crowds else set()
    table = RefTable()
    following = 1 + max((each for each in (record.get('ref_id') for record in records) if type(each) is int), default=0)
    denied = without_crowds = 0
    for number, record in enumerate(records):
        named = record.get('ref_id')
        where = f'{refs_file}, ref {f"number {number}" if named is None else short(named)}'
        refuse_flags(record, ('no_target',), where)
        ann_ids, category_id = _targets(record, where)
        others = [ann_id for ann_id in ann_ids if ann_id not in crowds]
        if others and len(others) < len(ann_ids):
            ann_ids, without_crowds = others, without_crowds + 1
        existing, absent = _by_existence(take(record, 'sentences', list, where), where)
        if existing or not absent:
            table.add(record, ann_ids, category_id, existing, where)
        if absent:
            both = bool(existing)
            table.add({**record, 'ref_id': following} if both else record, [], None, absent, where)
            following += both
            denied += len(absent)
    conversion = write_set(table, content, (refs_file, instances_file), out, images, overwrite)
    if denied:
        conversion.warnings.append(f'{denied} sentences with exist=false are those of refs that mean nothing')
    if without_crowds:
        conversion.warnings.append(f'{without_crowds} refs are without their annotations that are crowds')
    return conversion


def _targets(record: dict[str, Any], where: str) -> tuple[list[int], int | None]:
    """Annotations and category of what a ref means."""
    if record.get('source') == 'zero':  # Ref-ZOM
        return [], None
    ann_ids = _ids(record, 'ann_id', where)
    if record.get('no_target', not ann_ids) is not (not ann_ids):
        raise DataError(
            f'{where}: field no_target is {short(record["no_target"])}, field ann_id is {short(record["ann_id"])}: '
            'one of them is wrong: download the file again'
        )
    categories = _ids(record, 'category_id', where) if ann_ids and record.get('category_id') is not None else []
    return ann_ids, categories[0] if len(categories) == 1 else None


def _ids(record: dict[str, Any], field: str, where: str) -> list[int]:
    """Distinct ids of a field, which holds one or a list of them; -1 stands for none."""
    value = take(record, field, object, where)
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(type(each) is int and abs(each) < 2**63 for each in ids):
        raise DataError(
            f'{where}: field {field} is {short(value)}; expected ids, or -1 for none: download the file again'
        )
    return [each for each in dict.fromkeys(ids) if each != -1]


def _by_existence(sentences: list[Any], where: str) -> tuple[list[Any], list[Any]]:
    """The sentences that mean something, and those that R-RefCOCO marks with ``exist: false``."""
    marks = []
    for sentence in sentences:
        if isinstance(sentence, dict):
            refuse_flags(sentence, ('exist',), where)
            if 'exist' in sentence and not isinstance(sentence['exist'], bool):
                raise DataError(f'{where}: field exist is {short(sentence["exist"])}; expected true or false')
            marks.append(sentence.get('exist'))
    if None in marks and any(mark is not None for mark in marks):
        raise DataError(f'{where}: field exist is in some sentences only: download the file again')
    parts: tuple[list[Any], list[Any]] = ([], [])
    for sentence in sentences:
        parts[isinstance(sentence, dict) and sentence.get('exist') is False].append(sentence)
    return parts


def _crowds(content: Any) -> set[int]:
    annotations = content.get('annotations') if isinstance(content, dict) else None
    return {
        ann['id']
        for ann in (annotations if isinstance(annotations, list) else [])
        if isinstance(ann, dict) and ann.get('iscrowd') in (1, True) and type(ann.get('id')) is int
    }
