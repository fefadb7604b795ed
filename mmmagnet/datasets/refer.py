"""Sets as REFER distributes them (a pickle of refs beside COCO instances), turned into a prepared folder."""

from __future__ import annotations

import copyreg
import io
import json
import pickle
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mmmagnet.utils import DataError

from .prepared import prepared_folder

_USUAL_IMAGES = Path('images', 'mscoco', 'images', 'train2014')


@dataclass
class Conversion:
    """What a conversion wrote.

    Attributes:
        counts: Split -> number of refs, sentences and images.
        warnings: What the user should know, one sentence each.
    """

    counts: dict[str, tuple[int, int, int]]
    warnings: list[str] = field(default_factory=list)


class _Refused(pickle.UnpicklingError):
    """A pickle asks for more than plain values."""


class _PlainUnpickler(pickle.Unpickler):
    """Builds numbers, strings, lists and dicts, and nothing else: all other things need a class or an id."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _Refused(f'it asks for {module}.{name}')

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused(f'it asks for the outside object {pid!r}')


def load_refs(path: Path) -> list[dict[str, Any]]:
    """Read a REFER pickle without letting it run anything.

    Args:
        path: ``refs(<split_by>).p``.

    Returns:
        The refs, as they are in the file.

    Raises:
        DataError: If the file is damaged, asks for any class, or is no list of dicts.
    """
    # an extension code whose object is cached would not pass through find_class
    copyreg.clear_extension_cache()
    try:
        refs = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding='utf-8').load()
    except _Refused as error:
        raise DataError(
            f'{path}: refused: {error}; a file of refs holds only numbers, strings, lists and dicts: download it again'
        ) from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except Exception as error:  # damaged bytes end in whatever they happen to spell
        raise DataError(f'{path}: not a whole pickle ({type(error).__name__}: {error}); download it again') from error
    if not isinstance(refs, list) or not all(type(ref) is dict for ref in refs):
        raise DataError(f'{path}: not a list of refs; download it again')
    if not refs:
        raise DataError(f'{path}: the list of refs is empty; download it again')
    return refs


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
    refs, blank = _plain_refs(load_refs(refs_file), refs_file)
    instances = _matching_instances(refs_file.with_name('instances.json'), refs, refs_file)
    conversion = Conversion(_count(refs))
    if blank:
        conversion.warnings.append(f'{refs_file}: {blank} sentences without a word are left out')
    images = root / _USUAL_IMAGES if images is None else images
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


def _find_refs(root: Path, dataset: str, split_by: str) -> Path:
    path = root / dataset / f'refs({split_by}).p'
    if path.is_file():
        return path
    there = sorted(file.relative_to(root).as_posix() for file in root.glob('*/refs(*).p'))
    if there:
        raise DataError(f'{path}: no such file; give --dataset and --split-by of one that is there: {", ".join(there)}')
    raise DataError(f'{path}: no such file, nor any */refs(*).p in {root}: give the folder that holds the sets as ROOT')


def _plain_refs(refs: list[dict[str, Any]], path: Path) -> tuple[list[dict[str, Any]], int]:
    """The refs as lines of ``refs.jsonl``, and the number of blank sentences left out."""
    plain, blank = [], 0
    for number, ref in enumerate(refs):
        where = f'{path}, ref {ref.get("ref_id", f"number {number}")}'
        sentences = []
        for sentence in _field(ref, 'sentences', list, where):
            if not isinstance(sentence, dict):
                raise DataError(f'{where}: a sentence is {sentence!r}; expected a dict: download the file again')
            raw = _field(sentence, 'raw', str, where)
            sentences.append({'sent_id': _field(sentence, 'sent_id', int, where), 'raw': raw})
        kept = [sentence for sentence in sentences if sentence['raw'].strip()]
        blank += len(sentences) - len(kept)
        if not kept:
            raise DataError(f'{where}: field sentences holds no words: remove the ref')
        plain.append(
            {
                'ref_id': _field(ref, 'ref_id', int, where),
                'image_id': _field(ref, 'image_id', int, where),
                'ann_ids': [_field(ref, 'ann_id', int, where)],
                'category_id': _field(ref, 'category_id', int, where),
                'split': _field(ref, 'split', str, where),
                'sentences': kept,
            }
        )
    return plain, blank


def _matching_instances(path: Path, refs: list[dict[str, Any]], refs_file: Path) -> dict[str, list]:
    """The images of the refs with all that is annotated on them: other objects are what a ref is told from."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f'{path}: no such file; it is distributed beside {refs_file.name}: download it') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise DataError(f'{path}: not whole JSON ({error}): download it again') from error
    if not isinstance(content, dict):
        raise DataError(f'{path}: not COCO instances (a {type(content).__name__}): download it again')
    image_ids = {ref['image_id'] for ref in refs}
    images = [image for image in _entries(content, 'images', path) if image['id'] in image_ids]
    annotations = [ann for ann in _entries(content, 'annotations', path, 'image_id') if ann['image_id'] in image_ids]
    for image in images:
        for name, kind in (('file_name', str), ('width', int), ('height', int)):
            _field(image, name, kind, f'{path}, image {image["id"]}')
    image_of = {ann['id']: ann['image_id'] for ann in annotations}
    segmented = {ann['id'] for ann in annotations if isinstance(ann.get('segmentation'), (list, dict))}
    known = {image['id'] for image in images}
    for ref in refs:
        where = f'{refs_file}, ref {ref["ref_id"]}'
        (ann_id,) = ref['ann_ids']
        if ref['image_id'] not in known:
            raise DataError(f'{where}: field image_id: {path} has no image {ref["image_id"]}: use files of one set')
        if image_of.get(ann_id) != ref['image_id']:
            raise DataError(
                f'{where}: field ann_id: {path} has no annotation {ann_id} on image {ref["image_id"]}: use files of '
                'one set'
            )
        if ann_id not in segmented:
            raise DataError(f'{path}, annotation {ann_id}: field segmentation is missing: download the file again')
    return {'images': images, 'annotations': annotations, 'categories': _entries(content, 'categories', path)}


def _entries(content: dict[str, Any], name: str, path: Path, *needed: str) -> list[dict[str, Any]]:
    entries = _field(content, name, list, str(path))
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), int) for key in ('id', *needed)):
            raise DataError(f'{path}, {name}[{number}]: field {" or ".join(("id", *needed))} is not a number')
    return entries


def _field(record: dict[str, Any], name: str, kind: type, where: str) -> Any:
    if name not in record:
        raise DataError(f'{where}: field {name} is missing; fields there: {", ".join(map(str, record)) or "none"}')
    value = record[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f'{where}: field {name} is {value!r:.60}; expected {kind.__name__}: download the file again')
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
