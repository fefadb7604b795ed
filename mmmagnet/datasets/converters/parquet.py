"""Sets as public mirrors publish them in parquet files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .objects import image_size
from .output import Conversion, RefTable, write_set
from .parquet_rows import parquet_rows
from .reading import short, take

NEEDED = {'ref_id': int, 'ann_id': int, 'image_id': int, 'split': str}
Sample = dict[str, Any]
"""A ref: the fields of `NEEDED`, ``category_id``, ``segmentation``, ``sentences`` and ``image`` (a function of its
entry)."""


def convert_parquet(files: Sequence[Path], out: Path, images: Path, overwrite: bool = False) -> Conversion:
    """Convert parquet files of refs to a prepared folder. The columns tell the layout.

    - A row is a ref (jxu124/refcoco, refcocoplus, refcocog): ``ref_id, ann_id, image_id, split``, ``sentences`` (or
      ``raw_sentences``, ``texts``) and ``raw_anns`` (or ``anns``); optional are ``category_id`` and ``raw_image_info``
      (or ``image_info``). Structures may be JSON text. Without the image's size its file is measured.
    - A row is an image (jxu124/refcoco-benchmark): ``ref_list`` of ``ann_info`` and ``ref_info``, ``image_info``.
    - A row is an image (moondream/refcoco-m): ``image_id, file_name, samples``; all of it is val.

    Such files hold the refs' own objects only, so distractors are unknown. A ref that a second file repeats, as in
    revision 991dfe9 of jxu124/refcoco, is left out and counted.

    Example:
        >>> convert_parquet([Path('refcoco/data')], Path('data/refcoco_unc'), images=Path('train2014'))

    Args:
        files: Parquet files, or folders of them.
        out: The prepared folder.
        images: Folder of the images, to which ``images`` links.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If a file is missing, damaged, too large or of another layout, two files tell different things of a
            ref, or pyarrow is not installed.
        OSError: If `out` cannot be written or replaced.
    """
    table = RefTable()
    image_entries: dict[int, dict[str, Any]] = {}
    annotations: dict[int, dict[str, Any]] = {}
    names: dict[str, int] = {}
    told: dict[int, tuple[Path, Any]] = {}
    repeated = 0
    for path, row, record in parquet_rows(files):
        where = f'{path}, row {row}'
        text = _text(record)
        for sample in _samples(record, images, where, len(told), names):
            for name, kind in NEEDED.items():
                take(sample, name, kind, where)
            ref_id, ann_id, image_id = (sample[name] for name in ('ref_id', 'ann_id', 'image_id'))
            said = (ann_id, image_id, sample['split'], len(sample['sentences']))
            first, before = told.setdefault(ref_id, (path, said))
            if first != path:
                if before != said:
                    raise DataError(f'{where}: ref {ref_id} is another one in {first}: give files of one revision')
                repeated += 1
                continue
            if not isinstance(sample['segmentation'], (list, dict)):
                raise DataError(f'{where}: column raw_anns: field segmentation is missing: download the file again')
            made = {'id': ann_id, 'image_id': image_id}
            category_id = sample.get('category_id')
            if category_id is not None:
                made['category_id'] = take(sample, 'category_id', int, where)
            annotations[ann_id] = {**made, 'segmentation': sample['segmentation']}
            table.add(sample, [ann_id], category_id, sample['sentences'], where, text)
            text = 0
            if image_id not in image_entries:
                image_entries[image_id] = {'id': image_id, **sample['image']()}
    if not told:
        raise DataError(f'{files[0]}: holds no refs: download it again')
    named = {number: name for name, number in names.items()}
    categories = sorted({ann['category_id'] for ann in annotations.values() if 'category_id' in ann})
    content = {
        'images': list(image_entries.values()),
        'annotations': list(annotations.values()),
        'categories': [{'id': number, 'name': named.get(number, str(number))} for number in categories],
    }
    first = Path(files[0])
    conversion = write_set(table, content, (first, first), out, images, overwrite)
    without = '' if names else ', and no names of categories'
    conversion.warnings.append(f"parquet files hold the refs' own objects only{without}")
    if repeated:
        conversion.warnings.append(f'skipped {repeated} refs: another of the files has them, too')
    return conversion


def _samples(record: dict[str, Any], images: Path, where: str, count: int, names: dict[str, int]) -> Iterator[Sample]:
    """The refs of a row."""
    if 'samples' in record:
        yield from _reannotated(record, where, count, names)
    elif 'ref_list' in record:
        for pair in _structure(record, ('ref_list',), list, where):
            if not isinstance(pair, dict):
                raise DataError(f'{where}: column ref_list holds {short(pair)}; expected dicts: download it again')
            ref = _structure(pair, ('ref_info',), dict, where)
            yield _ref({**record, **ref, 'raw_anns': pair.get('ann_info')}, images, where)
    else:
        yield _ref(record, images, where)


def _ref(record: dict[str, Any], images: Path, where: str) -> Sample:
    for name, kind in NEEDED.items():
        take(record, name, kind, where)
    anns = _structure(record, ('raw_anns', 'anns'), (dict, list), where)
    if isinstance(anns, list):
        own = [ann for ann in anns if isinstance(ann, dict) and ann.get('id', record['ann_id']) == record['ann_id']]
        if len(own) != 1:
            raise DataError(f'{where}: column anns has {len(own)} annotations {record["ann_id"]}: download it again')
        anns = own[0]
    sentences = _structure(record, ('sentences', 'raw_sentences', 'texts'), list, where)
    if all(isinstance(sentence, str) for sentence in sentences):
        numbers = record.get('sent_ids') or [None] * len(sentences)
        sentences = [{'raw': raw, 'sent_id': number} for raw, number in zip(sentences, numbers, strict=False)]
    category_id = record.get('category_id')
    return {
        **{name: record[name] for name in NEEDED},
        'category_id': anns.get('category_id') if category_id is None else category_id,
        'segmentation': anns.get('segmentation'),
        'sentences': sentences,
        'image': lambda: _image_entry(record, images, where),
    }


def _reannotated(record: dict[str, Any], where: str, count: int, names: dict[str, int]) -> Iterator[Sample]:
    """The refs of a row of RefCOCO-M, numbered as they come."""
    image_id = record.get('image_id')
    if isinstance(image_id, str) and re.fullmatch(r'[0-9]{1,18}', image_id):
        image_id = int(image_id)
    file_name = _image_name(take(record, 'file_name', str, where))
    for number, sample in enumerate(_structure(record, ('samples',), list, where)):
        about = f'{where}, sample {number}'
        mask = take(sample if isinstance(sample, dict) else {}, 'mask', dict, about)
        size = take(mask, 'size', list, about)
        if len(size) != 2 or not all(type(side) is int for side in size):
            raise DataError(f'{about}: field size is {short(size)}; expected height and width: download it again')
        counts = mask.get('counts')
        counts = counts.decode('ascii', 'replace') if isinstance(counts, bytes) else counts
        category = take(sample, 'category', str, about)
        texts = take(sample, 'sentences', list, about)
        if len(texts) > 1000:
            raise DataError(f'{about}: has {len(texts)} sentences, more than 1000: give a file of refs')
        yield {
            'ref_id': count + number,
            'ann_id': count + number,
            'image_id': image_id,
            'split': 'val',
            'category_id': names.setdefault(category, len(names) + 1),
            'segmentation': {'size': size, 'counts': counts},
            'sentences': [{'raw': raw, 'sent_id': 1000 * (count + number) + k} for k, raw in enumerate(texts)],
            'image': lambda size=size: {'file_name': file_name, 'width': size[1], 'height': size[0]},
        }


def _text(value: Any) -> int:
    """Number of characters in a value."""
    if isinstance(value, (str, bytes)):
        return len(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(_text(each) for each in inner if not isinstance(each, (int, float)))


def _image_name(given: str) -> str:
    """Name of an image; that of a ref has the annotation after the image: COCO_train2014_000000581857_16.jpg."""
    return re.sub(r'^(COCO_.*_\d{12})_\d+(\.\w+)$', r'\1\2', Path(given).name)


def _image_entry(record: dict[str, Any], images: Path, where: str) -> dict[str, Any]:
    """File name, width and height of a row's image."""
    if any(record.get(name) is not None for name in ('raw_image_info', 'image_info')):
        image = _structure(record, ('raw_image_info', 'image_info'), dict, where)
        fields = (('file_name', str), ('width', int), ('height', int))
        return {name: take(image, name, kind, f'{where}, raw_image_info') for name, kind in fields}
    given = take(record, 'file_name', str, f'{where}, without raw_image_info')
    file_name = _image_name(given)
    width, height = image_size(
        images / file_name, f'{where} has no raw_image_info, so its image is read from the folder given by --images'
    )
    return {'file_name': file_name, 'width': width, 'height': height}


def _structure(record: dict[str, Any], names: Sequence[str], kind: type | tuple[type, ...], where: str) -> Any:
    """The first of some columns that is there, out of JSON text where it is that."""
    name = next((name for name in names if record.get(name) is not None), names[0])
    value = record.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise DataError(f'{where}: column {name} is no JSON ({error}): download the file again') from error
    return take({name: value} if value is not None else record, name, kind, where)
