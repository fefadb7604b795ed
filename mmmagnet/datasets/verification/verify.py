"""Is a prepared folder what it claims to be: counts, ids, outlines, images, expressions, splits."""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mmmagnet.utils.errors import DataError

from ..refs_io import no_collection, read_refs
from ..transforms.expression import load_tokenizer
from .outlines import check_outlines
from .published import ALL, PUBLISHED, SHARES_IMAGES, Counts
from .report import Report, printable

MAX_TOKENS = 20
MAX_SPLITS = 100  # each is compared with each
DEFAULT_TOKENIZER = 'bert-base-uncased'


def verify_prepared(
    folder: Path,
    dataset: str | None = None,
    split_by: str | None = None,
    images: bool = True,
    tokenizer: str | None = None,
) -> Report:
    """Check a prepared folder: counts, ids, outlines, image files, expressions and splits.

    Example:
        >>> verify_prepared(Path('data/refcoco_unc')).counts['val']
        (3811, 10834, 1500)

    Args:
        folder: With ``refs.jsonl``, ``instances.json`` and ``images``.
        dataset: ``refcoco``, ``refcoco+``, ``refcocog`` ... Without it and `split_by` the folder's name tells, where
            it has the form ``refcoco_unc``.
        split_by: ``unc``, ``umd``, ``google`` ...
        images: Read the header of every image file, too.
        tokenizer: Name or folder; counts expressions that are cut. Default: that of the configs, if it is there.

    Raises:
        DataError: If a file cannot be read at all, or `tokenizer` cannot be loaded.
    """
    source = (dataset, split_by) if dataset and split_by else None
    if source is None:
        source = next((known for known in PUBLISHED if '_'.join(known) == folder.resolve().name), None)
    report = Report()
    with no_collection():  # all that is read stays
        refs = [ref for _, ref in read_refs(folder / 'refs.jsonl')]
        if not refs:
            raise DataError(f'{folder / "refs.jsonl"}: holds no refs; convert the set again')
        content = _read_instances(folder / 'instances.json')
        splits = {ref['split'] for ref in refs}
        if len(splits) > MAX_SPLITS:
            raise DataError(
                f'{folder / "refs.jsonl"}: has {len(splits)} splits, a set has a few; convert the set again'
            )
        _check_counts(report, refs, source)
        _check_ids(report, refs, content)
        sizes = _check_sizes(report, content['images'])
        _check_references(report, refs, content)
        _check_outlines(report, refs, content['annotations'], sizes)
        if images:
            _check_files(report, folder / 'images', content['images'], sizes)
        else:
            report.not_checked.append('image files: --no-images')
        _check_expressions(report, refs, tokenizer)
        _check_splits(report, refs, source)
    return report


def _read_instances(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_fields)
        for name, needed in (('images', ('id', 'file_name')), ('annotations', ('id', 'image_id'))):
            for number, entry in enumerate(content[name]):
                if not all(type(entry[key]) is (str if key == 'file_name' else int) for key in needed):
                    raise TypeError(f'{name}[{number}]: field {" or ".join(needed)} is of the wrong kind')
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}); convert the set again') from error
    except KeyError as error:
        raise DataError(f'{path}: field {error} is missing; convert the set again') from error
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f'{path}: not COCO instances ({error}); convert the set again') from error
    return {name: content[name] for name in ('images', 'annotations')}


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):  # readers differ on which one counts
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise ValueError(f'an object has the field {twice:.80} twice')
    return fields


def _check_counts(report: Report, refs: list[dict], source: tuple[str, str] | None) -> None:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    images: dict[str, set[int]] = defaultdict(set)
    for ref in refs:
        kind = ('nothing', 'one', 'several')[min(len(ref['ann_ids']), 2)]
        for split in (ref['split'], ALL):
            found[split].update({'refs': 1, 'sentences': len(ref['sentences']), kind: len(ref['sentences'])})
            images[split].add(ref['image_id'])
    splits = [split for split in found if split != ALL]
    report.counts = {split: (found[split]['refs'], found[split]['sentences'], len(images[split])) for split in splits}
    if found[ALL]['one'] < found[ALL]['sentences']:
        kinds = {split: tuple(found[split][kind] for kind in ('nothing', 'one', 'several')) for split in splits}
        report.targets = kinds
    if source not in PUBLISHED:
        name = '_'.join(source) if source else 'this folder (give --dataset and --split-by)'
        report.not_checked.append(f'published counts: none are known for {name}')
        return
    published = PUBLISHED[source]
    differing = []
    for split, counts in published.items():
        here = {**found[split], 'images': len(images[split])}
        for field, there in zip(Counts._fields, counts, strict=True):
            if there is not None and here.get(field, 0) != there:
                what = field if field in ('refs', 'sentences', 'images') else f'sentences that mean {field}'
                differing.append(f'{split}: {here.get(field, 0)} {what}, published are {there}')
    report.add('error', 'counts that differ from the published ones', differing)
    report.add(
        'error', 'splits that the published set does not have', (split for split in splits if split not in published)
    )


def _check_ids(report: Report, refs: list[dict], content: dict[str, list[dict[str, Any]]]) -> None:
    sentence_ids = (sentence['sent_id'] for ref in refs for sentence in ref['sentences'])
    for name, ids in (
        ('ref_id', (ref['ref_id'] for ref in refs)),
        ('sent_id', sentence_ids),
        ('annotation id', (ann['id'] for ann in content['annotations'])),
        ('image id', (image['id'] for image in content['images'])),
    ):
        report.add(
            'error',
            f'{name}s that occur more than once',
            (str(key) for key, times in Counter(ids).items() if times > 1),
        )
    named = ((ann['id'], ann['category_id']) for ann in content['annotations'] if 'category_id' in ann)
    damaged = (f'annotation {ann_id}: {category!r:.40}' for ann_id, category in named if type(category) is not int)
    report.add('error', 'category_ids that are not numbers', damaged)


def _check_sizes(report: Report, images: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
    """Width and height of the images that state usable ones."""
    sizes, damaged = {}, []
    for image in images:
        width, height = image.get('width'), image.get('height')
        if type(width) is int and type(height) is int and 0 < width < 2**16 and 0 < height < 2**16:
            sizes[image['id']] = width, height
        else:
            damaged.append(f'image {image["id"]}: {width!r:.20} x {height!r:.20}')
    report.add('error', 'images without a usable width and height', damaged)
    return sizes


def _check_references(report: Report, refs: list[dict], content: dict[str, list[dict[str, Any]]]) -> None:
    images = {image['id'] for image in content['images']}
    image_of = {ann['id']: ann['image_id'] for ann in content['annotations']}
    absent = (f'ref {ref["ref_id"]}: image {ref["image_id"]}' for ref in refs if ref['image_id'] not in images)
    report.add('error', 'refs on an image that instances.json does not have', absent)
    named = [(ref, ann_id) for ref in refs for ann_id in ref['ann_ids']]
    absent = (f'ref {ref["ref_id"]}: annotation {ann_id}' for ref, ann_id in named if ann_id not in image_of)
    report.add('error', 'refs to an annotation that instances.json does not have', absent)
    elsewhere = (
        f'ref {ref["ref_id"]}: annotation {ann_id} is on image {image_of[ann_id]}, not {ref["image_id"]}'
        for ref, ann_id in named
        if image_of.get(ann_id, ref['image_id']) != ref['image_id']
    )
    report.add('error', 'refs to an annotation of another image', elsewhere)


def _check_outlines(
    report: Report, refs: list[dict], annotations: list[dict[str, Any]], sizes: dict[int, tuple[int, int]]
) -> None:
    annotations = [ann for ann in annotations if ann['image_id'] in sizes]
    check = check_outlines(
        [ann.get('segmentation') for ann in annotations], [sizes[ann['image_id']] for ann in annotations]
    )
    named = {ann_id for ref in refs for ann_id in ref['ann_ids']}

    def names(positions: Iterable[int], of_refs: bool) -> Iterator[str]:
        for position in positions:
            ann = annotations[position]
            if (ann['id'] in named) is of_refs:
                note = f': {check.damaged[position]}' if position in check.damaged else ''
                yield f'annotation {ann["id"]} on image {ann["image_id"]}{note}'

    for of_refs, severity, whose in ((True, 'error', 'of refs'), (False, 'warning', 'of other objects')):
        text = f'outlines {whose} that are neither polygons nor RLE of the size of their image'
        report.add(severity, text, names(check.damaged, of_refs))
        report.add(severity, f'masks {whose} without pixels', names(check.empty, of_refs))
        text = f'polygons {whose} that leave their image by more than a pixel, where they are cut off'
        report.add('warning', text, names(check.outside, of_refs))


def _check_files(report: Report, folder: Path, images: list[dict[str, Any]], sizes: dict[int, tuple[int, int]]) -> None:
    if not folder.is_dir():
        report.add('error', 'folders of images that are not there (look at the rest with --no-images)', [str(folder)])
        return
    absent, damaged, other = [], [], []
    for image in images:
        path = folder / image['file_name']
        try:
            if not path.is_file():
                absent.append(image['file_name'])
                continue
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # Pillow's, of large images
                with Image.open(path) as header:
                    size = header.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            damaged.append(f'{image["file_name"]:.80}: {error}')
            continue
        if size != sizes.get(image['id'], size):
            width, height = sizes[image['id']]
            other.append(f'{image["file_name"]}: {size[0]} x {size[1]}, instances.json says {width} x {height}')
    report.add('error', 'image files that are not there', absent)
    report.add('error', 'image files that cannot be read', damaged)
    report.add('error', 'image files of another size than stated', other)


def _check_expressions(report: Report, refs: list[dict], tokenizer: str | None) -> None:
    said = [(ref['ref_id'], sentence) for ref in refs for sentence in ref['sentences']]
    where = [f'ref {ref_id}, sentence {sentence["sent_id"]}: {sentence["raw"]!r:.80}' for ref_id, sentence in said]
    texts = [sentence['raw'] for _, sentence in said]
    blank = (place for place, text in zip(where, texts, strict=True) if not text.strip())
    report.add('error', 'expressions that are empty', blank)
    wordless = (
        place for place, text in zip(where, texts, strict=True) if text.strip() and not any(map(str.isalnum, text))
    )
    report.add('warning', 'expressions without a letter or digit', wordless)
    report.add('note', 'refs that mean nothing', (f'ref {ref["ref_id"]}' for ref in refs if not ref['ann_ids']))
    words = load_tokenizer(tokenizer) if tokenizer else _default_tokenizer()
    if words is None:
        report.not_checked.append(f'cut expressions: {DEFAULT_TOKENIZER} is not here; give --tokenizer')
        return
    lengths = _token_counts(words, texts)
    number = Counter(ref['split'] for ref in refs for _ in ref['sentences'])
    splits = (ref['split'] for ref in refs for _ in ref['sentences'])
    long = Counter(split for split, length in zip(splits, lengths, strict=True) if length > MAX_TOKENS)
    report.cut = {split: (long[split], number[split]) for split in number}
    cut = (f'{place}: {length} tokens' for place, length in zip(where, lengths, strict=True) if length > MAX_TOKENS)
    report.add('warning', f'expressions cut at {MAX_TOKENS} tokens', cut)


def _default_tokenizer() -> PreTrainedTokenizerBase | None:
    """The tokenizer of the configs, where it can be had without a download."""
    try:
        return AutoTokenizer.from_pretrained(DEFAULT_TOKENIZER, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def _token_counts(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[int]:
    """Number of tokens of each text, [CLS] and [SEP] included."""
    distinct = list(dict.fromkeys(texts))
    counts: dict[str, int] = {}
    for start in range(0, len(distinct), 1000):
        part = distinct[start : start + 1000]
        counts.update(zip(part, map(len, tokenizer(part, verbose=False)['input_ids']), strict=True))
    return [counts[text] for text in texts]


def _check_splits(report: Report, refs: list[dict], source: tuple[str, str] | None) -> None:
    images: dict[str, set[int]] = defaultdict(set)
    for ref in refs:
        images[ref['split']].add(ref['image_id'])
    for first, second in itertools.combinations(images, 2):
        severity, note = 'error' if 'train' in (first, second) else 'warning', ''
        if source in SHARES_IMAGES:
            severity, note = 'note', ', as published: this partition is by object'
        shared = images[first] & images[second]
        names = f'{printable(first)} shares with {printable(second)}'
        report.add(severity, f'images that {names}{note}', (f'image {image_id}' for image_id in sorted(shared)))
