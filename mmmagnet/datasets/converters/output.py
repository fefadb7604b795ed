"""What every converter shares: plain records from foreign files, checked, written as a prepared folder."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .common import prepared_folder

MAX_JSON = 2**30  # bytes; all of COCO's train2014 has 448 MB


@dataclass
class Conversion:
    """What a conversion wrote.

    Attributes:
        counts: Split -> number of refs, sentences and images.
        warnings: What the user should know, one sentence each.
    """

    counts: dict[str, tuple[int, int, int]]
    warnings: list[str] = field(default_factory=list)


def write_set(
    refs: list[dict[str, Any]],
    instances: dict[str, list],
    out: Path,
    images: Path,
    overwrite: bool = False,
    blank: int = 0,
) -> Conversion:
    """Write ``refs.jsonl``, ``instances.json`` and the link ``images``, whole or not at all.

    Args:
        refs: Lines of ``refs.jsonl``.
        instances: COCO's ``images``, ``annotations`` and ``categories``.
        out: The prepared folder.
        images: Folder of the images.
        overwrite: Replace a prepared folder that is there.
        blank: Sentences that were left out because they hold no word.

    Raises:
        OSError: If `out` cannot be written or replaced.
    """
    conversion = Conversion(_count(refs))
    if blank:
        conversion.warnings.append(f'{blank} sentences without a word are left out')
    conversion.warnings += _image_warnings(images, out, instances['images'])
    linked = out / 'images'
    if linked.is_dir() and not linked.is_symlink():
        raise FileExistsError(f'{linked}: is a folder of its own, not a link: not overwritten, move it away first')
    with prepared_folder(out.absolute(), overwrite) as folder:
        with (folder / 'refs.jsonl').open('w', encoding='utf-8', newline='\n') as file:
            file.writelines(json.dumps(ref, ensure_ascii=False) + '\n' for ref in refs)
        (folder / 'instances.json').write_text(json.dumps(instances, separators=(',', ':')), encoding='utf-8')
        if images.is_dir():
            (folder / 'images').symlink_to(images.resolve(), target_is_directory=True)
    return conversion


def plain_ref(
    record: dict[str, Any], ann_ids: list[int], category_id: int | None, sentences: list[Any], where: str
) -> tuple[dict[str, Any], int]:
    """A line of ``refs.jsonl``, and the number of blank sentences left out.

    Args:
        record: With ``ref_id``, ``image_id`` and ``split``.
        ann_ids: Of what is meant; none for an expression without target.
        category_id: Of it; None where that is not one.
        sentences: Dicts with ``raw`` and ``sent_id``.
        where: File and ref, for messages.

    Raises:
        DataError: If a field is missing or of another kind, or no sentence holds a word.
    """
    plain = []
    for sentence in sentences:
        if not isinstance(sentence, dict):
            raise DataError(f'{where}: a sentence is {sentence!r:.60}; expected a dict: download the file again')
        raw = take(sentence, 'raw', str, where)
        plain.append({'sent_id': take(sentence, 'sent_id', int, where), 'raw': raw})
    kept = [sentence for sentence in plain if sentence['raw'].strip()]
    if not kept:
        raise DataError(f'{where}: field sentences holds no words: remove the ref')
    ref: dict[str, Any] = {
        'ref_id': take(record, 'ref_id', int, where),
        'image_id': take(record, 'image_id', int, where),
        'ann_ids': ann_ids,
    }
    if category_id is not None:
        ref['category_id'] = category_id
    return {**ref, 'split': take(record, 'split', str, where), 'sentences': kept}, len(plain) - len(kept)


def matching_instances(content: Any, path: Path, refs: list[dict[str, Any]], refs_file: Path) -> dict[str, list]:
    """The images of the refs with all that is annotated on them: other objects are what a ref is told from.

    Args:
        content: Of an instances file.
        path: Where it is from, for messages.
        refs: Lines of ``refs.jsonl``.
        refs_file: Where they are from, for messages.

    Raises:
        DataError: If a field is missing, or a ref names what is not there.
    """
    if not isinstance(content, dict):
        raise DataError(f'{path}: not COCO instances (a {type(content).__name__}): download it again')
    image_ids = {ref['image_id'] for ref in refs}
    images = [image for image in entries(content, 'images', path) if image['id'] in image_ids]
    annotations = [ann for ann in entries(content, 'annotations', path, 'image_id') if ann['image_id'] in image_ids]
    for image in images:
        for name, kind in (('file_name', str), ('width', int), ('height', int)):
            take(image, name, kind, f'{path}, image {image["id"]}')
    for ann in annotations:
        if 'category_id' in ann:
            take(ann, 'category_id', int, f'{path}, annotation {ann["id"]}')
    image_of = {ann['id']: ann['image_id'] for ann in annotations}
    segmented = {ann['id'] for ann in annotations if isinstance(ann.get('segmentation'), (list, dict))}
    known = {image['id'] for image in images}
    for ref in refs:
        where = f'{refs_file}, ref {ref["ref_id"]}'
        if ref['image_id'] not in known:
            raise DataError(f'{where}: field image_id: {path} has no image {ref["image_id"]}: use files of one set')
        for ann_id in ref['ann_ids']:
            if image_of.get(ann_id) != ref['image_id']:
                raise DataError(
                    f'{where}: field ann_id: {path} has no annotation {ann_id} on image {ref["image_id"]}: use files '
                    'of one set'
                )
            if ann_id not in segmented:
                raise DataError(f'{path}, annotation {ann_id}: field segmentation is missing: download the file again')
    return {'images': images, 'annotations': annotations, 'categories': entries(content, 'categories', path)}


def read_json(path: Path, fix: str = 'download it again') -> Any:
    """Content of a JSON file.

    Raises:
        DataError: If it is missing, cannot be read, too large, or is not whole JSON.
    """
    try:
        size = path.stat().st_size
        content = json.loads(path.read_bytes()) if size <= MAX_JSON else None
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such file: {fix}') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not whole JSON ({error}): {fix}') from error
    if size > MAX_JSON:
        raise DataError(f'{path}: has {size} bytes, more than {MAX_JSON}: give a file of refs or instances')
    return content


def entries(content: dict[str, Any], name: str, path: Path, *needed: str) -> list[dict[str, Any]]:
    """A list of records with a whole number as ``id``, and under the names that are `needed`.

    Raises:
        DataError: If it is not there, or a record is not like that.
    """
    records = take(content, name, list, str(path))
    for number, record in enumerate(records):
        if not isinstance(record, dict) or not all(type(record.get(key)) is int for key in ('id', *needed)):
            raise DataError(f'{path}, {name}[{number}]: field {" or ".join(("id", *needed))} is not a number')
    return records


def take(record: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """A field of a record.

    Raises:
        DataError: If it is missing or of another kind.
    """
    if name not in record:
        there = ', '.join(map(str, record)) or 'none'
        raise DataError(f'{where}: field {name} is missing; fields there: {there:.200}')
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f'{where}: field {name} is {value!r:.60}; expected {kind.__name__}: download the file again')
    if isinstance(value, str) and any('\ud800' <= character <= '\udfff' for character in value):
        raise DataError(f'{where}: field {name} is {value!r:.60}, with half a character in it: download the file again')
    return value


def _count(refs: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """Split -> number of refs, sentences and images, in the order of the file."""
    number = Counter(ref['split'] for ref in refs)
    sentences = Counter(ref['split'] for ref in refs for _ in ref['sentences'])
    images = Counter(split for split, _ in {(ref['split'], ref['image_id']) for ref in refs})
    return {split: (number[split], sentences[split], images[split]) for split in number}


def _image_warnings(folder: Path, out: Path, images: list[dict[str, Any]]) -> list[str]:
    if not folder.is_dir():
        return [f'{folder}: no such folder, so no images are linked; once it is there: ln -s FOLDER {out / "images"}']
    absent = [image['file_name'] for image in images if not (folder / image['file_name']).is_file()]
    if not absent:
        return []
    return [f'{folder}: {len(absent)} of {len(images)} images are not there, the first is {absent[0]}']
