"""What every converter shares: refs and instances from foreign files, checked, written as a prepared folder."""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .common import prepared_folder

MAX_JSON = 2**30  # bytes; all of COCO's train2014 has 448 MB
MAX_REFS = 1_000_000
MAX_WRITTEN = 2**30  # characters; a few bytes of a pickle or parquet file can stand for any number


@dataclass
class Conversion:
    """What a conversion wrote.

    Attributes:
        counts: Split -> number of refs, sentences and images.
        warnings: What the user should know, one sentence each.
    """

    counts: dict[str, tuple[int, int, int]]
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The counts as a table for people."""
        rows = [f'{split:<10}{refs:>8}{said:>11}{images:>8}' for split, (refs, said, images) in self.counts.items()]
        return [f'{"split":<10}{"refs":>8}{"sentences":>11}{"images":>8}', *rows]


class RefTable:
    """The refs of a set, checked one by one.

    Example:
        >>> table = RefTable()
        >>> record = dict(ref_id=0, image_id=5, split='train')
        >>> table.add(record, [7], 1, [dict(raw='the left cup', sent_id=0)], 'refs(unc).p, ref 0')
        >>> table.refs[0]['ann_ids']
        [7]

    Attributes:
        refs: Lines of ``refs.jsonl``.
        blank: Number of sentences without a word, which are left out.
    """

    def __init__(self) -> None:
        self.refs: list[dict[str, Any]] = []
        self.blank = 0
        self._written = 0

    def add(
        self,
        record: dict[str, Any],
        ann_ids: list[int],
        category_id: int | None,
        sentences: list[Any],
        where: str,
        size: int = 0,
    ) -> None:
        """Add a ref.

        Args:
            record: Dict with ``ref_id``, ``image_id`` and ``split``.
            ann_ids: Annotations of the objects; none for an expression without target.
            category_id: Category of the objects; None where they have several or none.
            sentences: Dicts with ``raw`` and ``sent_id``; ``sent`` is kept where it is there.
            where: File and ref, for messages.
            size: Characters that are written beside the sentences.

        Raises:
            DataError: If a field is missing or of another kind, no sentence holds a word, or the set is too large.
        """
        kept = []
        for sentence in sentences:
            if not isinstance(sentence, dict):
                raise DataError(f'{where}: a sentence is {short(sentence)}; expected a dict: download the file again')
            raw, sent_id = take(sentence, 'raw', str, where), take(sentence, 'sent_id', int, where)
            if raw.strip():
                sent = sentence.get('sent')  # REFER's cleaned text
                cleaned = {'sent': sent} if isinstance(sent, str) and sent.strip() else {}
                kept.append({'sent_id': sent_id, 'raw': raw, **cleaned})
                size += len(cleaned.get('sent', ''))
            size += len(raw)
        self._written += size
        if self._written > MAX_WRITTEN or len(self.refs) >= MAX_REFS:
            raise DataError(f'{where}: more than {MAX_REFS} refs or {MAX_WRITTEN} characters: give files of refs')
        if not kept:
            raise DataError(f'{where}: field sentences holds no words: remove the ref')
        ref = {name: take(record, name, int, where) for name in ('ref_id', 'image_id')} | {'ann_ids': ann_ids}
        if category_id is not None:
            ref['category_id'] = category_id
        self.refs.append({**ref, 'split': take(record, 'split', str, where), 'sentences': kept})
        self.blank += len(sentences) - len(kept)


def write_set(
    table: RefTable, content: Any, sources: tuple[Path, Path], out: Path, images: Path, overwrite: bool = False
) -> Conversion:
    """Write ``refs.jsonl``, ``instances.json`` and the link ``images``, whole or not at all.

    Args:
        table: The refs.
        content: COCO's ``images``, ``annotations`` and ``categories``.
        sources: File of the refs and file of the instances, for messages.
        out: The prepared folder.
        images: Folder of the images.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If the instances lack a field, or a ref names what they do not have.
        OSError: If `out` cannot be written or replaced.
    """
    instances = matching_instances(content, sources[1], table.refs, sources[0])
    conversion = Conversion(_count(table.refs))
    if table.blank:
        conversion.warnings.append(f'{table.blank} sentences without a word are left out')
    conversion.warnings += _image_warnings(images, out, instances['images'])
    linked = out / 'images'
    if linked.is_dir() and not linked.is_symlink():
        raise FileExistsError(f'{linked}: is a folder of its own, not a link: not overwritten, move it away first')
    with prepared_folder(out.absolute(), overwrite) as folder:
        with (folder / 'refs.jsonl').open('w', encoding='utf-8', newline='\n') as file:
            file.writelines(json.dumps(ref, ensure_ascii=False) + '\n' for ref in table.refs)
        (folder / 'instances.json').write_text(json.dumps(instances, separators=(',', ':')), encoding='utf-8')
        if images.is_dir():
            (folder / 'images').symlink_to(images.resolve(), target_is_directory=True)
    return conversion


def matching_instances(content: Any, path: Path, refs: list[dict[str, Any]], refs_file: Path) -> dict[str, list]:
    """The images of the refs and all annotations on them, since other objects are distractors.

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
        there = ', '.join(str(key)[:40] for key in [*record][:20]) or 'none'
        raise DataError(f'{where}: field {name} is missing; fields there: {there:.200}')
    value = record[name]
    whole = kind is not int or (isinstance(value, int) and abs(value) < 2**63)
    if not isinstance(value, kind) or isinstance(value, bool) or not whole:
        raise DataError(f'{where}: field {name} is {short(value)}; expected {kind.__name__}: download the file again')
    if isinstance(value, str) and any('\ud800' <= character <= '\udfff' for character in value):
        raise DataError(
            f'{where}: field {name} is {short(value)}, with half a character in it: download the file again'
        )
    return value


def short(value: Any) -> str:
    """A value in at most 60 characters, however large or nested it is."""
    try:
        return reprlib.repr(value)[:60]
    except ValueError:  # an integer of thousands of digits
        return f'of kind {type(value).__name__}'


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
