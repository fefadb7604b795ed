"""Write a random set of RefCOCO's size and proportions, as RefCOCO itself cannot be shipped.

Example:
    python tools/analysis_tools/benchmark/full_size_set.py data/full_size --images
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

REFS, SENTENCES, OUTLINES, IMAGES = 50_000, 142_209, 196_771, 19_994  # RefCOCO (unc); others in proportion
SPLITS = {'train': 42404, 'val': 3811, 'testA': 1975, 'testB': 1810}
SIZES = ((640, 480), (480, 640), (640, 427), (500, 375))
WORDS = """
    left right middle top bottom front back man woman boy girl dog cat horse car bus bike chair table couch bed cup
    bowl plate pizza sandwich shirt hat jacket red blue green white black yellow brown striped small big tall closest
    second third the a on in of with wearing holding sitting standing next to behind guy kid player batter catcher
""".split()  # noqa: SIM905


class Counts(NamedTuple):
    """What a set holds."""

    refs: int
    expressions: int
    outlines: int
    images: int


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Write a random set of RefCOCO's size and proportions.")
    parser.add_argument('out', type=Path, metavar='OUT', help='new folder')
    parser.add_argument('--refs', type=int, default=REFS, metavar='N', help=f'refs (default: {REFS})')
    parser.add_argument('--copies', type=int, default=1, metavar='N', help='write the set N times, under other ids')
    parser.add_argument('--images', action='store_true', help='also write image files; all of one size are one file')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    args = parser.parse_args(argv)
    if args.refs < 20:
        parser.error('--refs is a number from 20')
    if args.seed < 0:
        parser.error('--seed is a number from 0')
    if args.copies < 1 or (args.copies > 1 and args.images):
        parser.error('--copies is a number from 1, and for a prepared folder without images')
    return args


def make_set(refs: int, seed: int) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Refs of one object each, and COCO instances. Each image is in one split and has a ref."""
    rng = np.random.default_rng(seed)
    number_of_images, outlines = refs * IMAGES // REFS, refs * OUTLINES // REFS
    split_of = rng.permutation(np.repeat(list(SPLITS), _shares(number_of_images)))
    image_of = np.concatenate(
        [
            np.resize(np.flatnonzero(split_of == split), number)
            for split, number in zip(SPLITS, _shares(refs), strict=True)
        ]
    )
    image_of_outline = np.concatenate([image_of, rng.integers(number_of_images, size=outlines - refs)])
    sizes = [SIZES[number] for number in rng.integers(len(SIZES), size=number_of_images)]
    images = [
        {'id': image_id, 'file_name': f'COCO_train2014_{image_id:012d}.jpg', 'width': width, 'height': height}
        for image_id, (width, height) in enumerate(sizes, start=1)
    ]
    annotations = [
        make_annotation(ann_id, int(image), sizes[image], rng) for ann_id, image in enumerate(image_of_outline, start=1)
    ]
    often = np.full(refs, refs * SENTENCES // REFS // refs)
    often[rng.permutation(refs)[: refs * SENTENCES // REFS - often.sum()]] += 1
    sentence_ids = iter(range(often.sum()))
    made = [
        {
            'ref_id': number,
            'ann_id': number + 1,
            'category_id': annotations[number]['category_id'],
            'image_id': int(image) + 1,
            'split': str(split_of[image]),
            'sentences': list(make_sentences(sentence_ids, times, rng)),
        }
        for number, (image, times) in enumerate(zip(image_of, often, strict=True))
    ]
    categories = [{'id': number, 'name': f'thing {number}'} for number in range(1, 81)]
    return made, {'images': images, 'annotations': annotations, 'categories': categories}


def _shares(total: int) -> list[int]:
    """Numbers for the splits that sum up to `total`, in proportion to RefCOCO's refs; the first takes the remainder."""
    others = [max(1, total * number // sum(SPLITS.values())) for number in list(SPLITS.values())[1:]]
    return [total - sum(others), *others]


def make_annotation(ann_id: int, image: int, size: tuple[int, int], rng: np.random.Generator) -> dict[str, Any]:
    """Annotation with a star-shaped outline of 8 to 60 corners inside the image."""
    corners = int(rng.integers(8, 60))
    angles = np.sort(rng.random(corners)) * 2 * np.pi
    radii = rng.uniform(10, 120) * rng.uniform(0.6, 1, corners)
    centre = rng.uniform(0.05, 0.95, 2) * size
    points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = np.clip(points, 0, size).round(2)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return {
        'id': ann_id,
        'image_id': image + 1,
        'category_id': int(rng.integers(1, 81)),
        'bbox': [left, top, round(right - left, 2), round(bottom - top, 2)],
        'area': round((right - left) * (bottom - top), 2),
        'iscrowd': 0,
        'segmentation': [points.ravel().tolist()],
    }


def make_sentences(sentence_ids: Iterator[int], times: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Sentences of one to six words, 3.5 on average as in RefCOCO."""
    for _ in range(times):
        raw = ' '.join(WORDS[number] for number in rng.integers(len(WORDS), size=rng.integers(1, 7)))
        yield {'raw': raw, 'sent': raw, 'sent_id': next(sentence_ids)}


def make_photograph(size: tuple[int, int], rng: np.random.Generator) -> bytes:
    """Content of a JPEG file with noise at every scale."""
    image = np.zeros((size[1], size[0], 3))
    for octave in range(1, 9):
        noise = rng.integers(0, 256, (2**octave, 2**octave, 3), np.uint8)
        image += np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC), float) / 1.3**octave
    file = io.BytesIO()
    Image.fromarray((image / 3).astype(np.uint8)).save(file, 'JPEG', quality=92)
    return file.getvalue()


def write_images(folder: Path, images: list[dict[str, Any]]) -> None:
    """Write one file of each image size, under the names of all images of that size."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    first: dict[tuple[int, int], Path] = {}
    for image in images:
        path, size = folder / image['file_name'], (image['width'], image['height'])
        if size in first:
            os.link(first[size], path)
        else:
            path.write_bytes(make_photograph(size, rng))
            first[size] = path


def write(args: argparse.Namespace) -> int:
    """Write the set; returns the exit status."""
    from mmmagnet.datasets.converters.common import prepared_folder

    refs, instances = make_set(args.refs, args.seed)
    expressions = sum(len(ref['sentences']) for ref in refs)
    counts = Counts(len(refs), expressions, len(instances['annotations']), len(instances['images']))
    with prepared_folder(args.out) as folder:
        with (folder / 'instances.json').open('w') as file:
            file.writelines(instances_text(instances, args.copies))
        with (folder / 'refs.jsonl').open('w') as file:
            for copy in range(args.copies):
                file.writelines(json.dumps(prepared_ref(ref, copy, counts)) + '\n' for ref in refs)
        if args.images:
            write_images(folder / 'images', instances['images'])
    said = ', '.join(f'{args.copies * number} {what}' for what, number in counts._asdict().items())
    print(f'{said} in {args.out}')
    return 0


def instances_text(instances: dict[str, list[dict[str, Any]]], copies: int) -> Iterator[str]:
    """Pieces of the text of ``instances.json``; copies of images and annotations have other ids."""
    yield f'{{"categories": {json.dumps(instances["categories"])}'
    for name in ('images', 'annotations'):
        yield f', "{name}": ['
        keys = [key for key in ('id', 'image_id') if key in instances[name][0]]
        form = '{' + ''.join(f'"{key}": %d, ' for key in keys)
        shifts = [len(instances['images' if key == 'image_id' else name]) for key in keys]
        rests = [json.dumps({key: entry[key] for key in entry if key not in keys})[1:] for entry in instances[name]]
        for copy in range(copies):
            for number, (entry, rest) in enumerate(zip(instances[name], rests, strict=True)):
                ids = (entry[key] + copy * shift for key, shift in zip(keys, shifts, strict=True))
                yield (', ' if copy or number else '') + form % tuple(ids) + rest
        yield ']'
    yield '}'


def prepared_ref(ref: dict[str, Any], copy: int, counts: Counts) -> dict[str, Any]:
    """Line of ``refs.jsonl`` in a copy of the set, as a dict."""
    return {
        'ref_id': ref['ref_id'] + copy * counts.refs,
        'image_id': ref['image_id'] + copy * counts.images,
        'category_id': ref['category_id'],
        'split': ref['split'],
        'ann_ids': [ref['ann_id'] + copy * counts.outlines],
        'sentences': [
            {'sent_id': said['sent_id'] + copy * counts.expressions, 'raw': said['raw'], 'sent': said['sent']}
            for said in ref['sentences']
        ],
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parse_args(argv)
    from mmmagnet.utils.cli import run_command

    return run_command(lambda: write(args))


if __name__ == '__main__':
    sys.exit(main())
