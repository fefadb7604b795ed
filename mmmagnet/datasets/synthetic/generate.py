"""Generation of a synthetic referring set, image by image from the seed, as a prepared folder."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from ..converters.common import ENTRIES, prepared_folder
from .express import Describer, family_of
from .grammar import Expression
from .level import LEVELS, SHAPES, SPLITS, Level
from .render import paint, rasterise, visible_masks, with_visible_centres
from .scene import Scene, place, sample_attributes

FORMAT_VERSION = 1
"""Version of the content; it rises when the same parameters give other images or expressions."""

_ATTEMPTS = 2000
_CHUNK = 32


@dataclass(frozen=True)
class SyntheticSet:
    """Parameters that determine the content of a set.

    Args:
        level: A name in `LEVELS`: 'easy', 'relations' or 'full'.
        seed: Seed of every image, together with its split and its index.
        size: Side S of the images in pixels, 48 to 1024.
        counts: Number of images by split.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> wanted = SyntheticSet('easy', seed=0, size=64, counts=dict(train=8, val=2, testA=2, testB=2))
        >>> generate_set(wanted, Path('data/synthetic_easy'))
        True
    """

    level: str
    seed: int
    size: int
    counts: dict[str, int]

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f'level: got {self.level!r}; give one of {", ".join(LEVELS)}')
        if self.seed < 0:
            raise ValueError(f'seed: got {self.seed}; give 0 or more')
        if not 48 <= self.size <= 1024:
            raise ValueError(f'size: got {self.size}; give 48 to 1024 pixels')
        if set(self.counts) != set(SPLITS) or min(self.counts.values()) < 0 or not sum(self.counts.values()):
            raise ValueError(f'counts: got {self.counts}; give 0 or more images for each of {", ".join(SPLITS)}')

    @property
    def info(self) -> dict[str, Any]:
        """Description in `instances.json`, equal for equal content."""
        counts = {split: self.counts[split] for split in SPLITS}
        return {
            'description': 'mmmagnet synthetic referring set',
            'format_version': FORMAT_VERSION,
            'level': self.level,
            'seed': self.seed,
            'size': self.size,
            'counts': counts,
        }

    @property
    def tasks(self) -> list[tuple[str, int]]:
        """Split and index of every image, in the order of image ids."""
        return [(split, index) for split in SPLITS for index in range(self.counts[split])]


@dataclass(frozen=True)
class Sample:
    """One image with its refs, in memory.

    Args:
        scene: Its objects.
        image: Pixels (S, S, 3) uint8, BGR.
        masks: Masks (S, S, n) uint8, 1 on the visible part of each of n objects.
        sentences: Sentences with their meaning, by the index of the object; only objects that have a ref.
    """

    scene: Scene
    image: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    sentences: dict[int, list[tuple[str, Expression]]]


def make_sample(level: Level, size: int, seed: int, split: str, index: int) -> Sample:
    """One image of a set; it depends on the arguments alone.

    Raises:
        RuntimeError: If no scene of the level fits the rules at this size.

    Example:
        >>> make_sample(LEVELS['easy'], size=64, seed=0, split='val', index=3).image.shape
        (64, 64, 3)
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    held_out = set(level.held_out)
    for _ in range(_ATTEMPTS):
        objects = place(rng, level, size, sample_attributes(rng, level, split))
        if objects is None:
            continue
        patches = [rasterise(item, size) for item in objects]
        masks, whole = visible_masks(objects, patches, size)
        objects, seen = with_visible_centres(objects, masks)
        least = level.min_area(size)
        if any(s < max(least, level.min_visible * w) for s, w in zip(seen, whole, strict=True)):
            continue
        scene = Scene(level, size, objects)
        targets = [i for i, o in enumerate(objects) if split != 'testB' or (o.colour, o.shape) in held_out]
        describer = Describer(rng, scene)
        sentences = {i: found for i in targets if (found := describer.describe(i))}
        # Two refs at least, so that expressions can be swapped within every image.
        if len(sentences) >= 2:
            return Sample(scene, paint(rng, objects, patches, size), masks, sentences)
    place_in_set = f'{split} image {index} of level {level.name!r} at size {size}'
    raise RuntimeError(f'{place_in_set}: no fitting scene found: try another size')


def image_name(split: str, index: int) -> str:
    """File name of an image in the set's `images` folder."""
    return f'{split}_{index:06d}.png'


def _make_files(wanted: SyntheticSet, images: Path, task: tuple[str, int]) -> dict[str, Any]:
    """Write one image and return its annotations and refs, numbered within the image."""
    split, index = task
    size = wanted.size
    sample = make_sample(LEVELS[wanted.level], size, wanted.seed, split, index)
    name = image_name(split, index)
    if not cv2.imwrite(str(images / name), sample.image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f'{images / name}: the image could not be written: check the space and rights of the folder')
    codes = coco_mask.encode(sample.masks)
    boxes, areas = coco_mask.toBbox(codes), coco_mask.area(codes)
    annotations = [
        {
            'category_id': SHAPES.index(item.shape) + 1,
            'segmentation': {'size': [size, size], 'counts': code['counts'].decode('ascii')},
            'area': int(area),
            'bbox': [float(v) for v in box],
            'iscrowd': 0,
            'shape': item.shape,
            'colour': item.colour,
            'texture': item.texture,
            'size': item.size,
        }
        for item, code, box, area in zip(sample.scene.objects, codes, boxes, areas, strict=True)
    ]
    refs = [
        {'object': i, 'sentences': [{'raw': text, 'family': family_of(spec)} for text, spec in sentences]}
        for i, sentences in sample.sentences.items()
    ]
    return {'split': split, 'file_name': name, 'annotations': annotations, 'refs': refs}


def _start_worker() -> None:
    cv2.setNumThreads(0)
    # Ctrl-C reaches every process; the parent alone answers it and ends its workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _records(wanted: SyntheticSet, images: Path, workers: int) -> Iterator[dict[str, Any]]:
    """Records of all images in the order of their ids, whatever the number of workers."""
    make = partial(_make_files, wanted, images)
    if workers <= 1:
        yield from map(make, wanted.tasks)
        return
    # a forked worker need not import the package again
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context('fork' if 'fork' in methods else None)
    with context.Pool(workers, initializer=_start_worker) as pool:
        yield from pool.imap(make, wanted.tasks, chunksize=_CHUNK)


def _write(wanted: SyntheticSet, folder: Path, workers: int, progress: Callable[[int, int], None] | None) -> None:
    images = folder / 'images'
    images.mkdir()
    instances: dict[str, Any] = {'info': wanted.info, 'images': [], 'annotations': []}
    instances['categories'] = [{'id': i + 1, 'name': shape} for i, shape in enumerate(SHAPES)]
    total = len(wanted.tasks)
    ref_id = sent_id = 0
    with (folder / 'refs.jsonl').open('w', encoding='utf-8') as lines:
        for image_id, record in enumerate(_records(wanted, images, workers)):
            side = wanted.size
            image = {'id': image_id, 'file_name': record['file_name'], 'width': side, 'height': side}
            instances['images'].append(image)
            first = len(instances['annotations'])
            for offset, annotation in enumerate(record['annotations']):
                instances['annotations'].append({'id': first + offset, 'image_id': image_id, **annotation})
            for ref in record['refs']:
                sentences = [{'sent_id': sent_id + i, **sentence} for i, sentence in enumerate(ref['sentences'])]
                line = {
                    'ref_id': ref_id,
                    'image_id': image_id,
                    'ann_ids': [first + ref['object']],
                    'category_id': record['annotations'][ref['object']]['category_id'],
                    'split': record['split'],
                    'sentences': sentences,
                }
                lines.write(json.dumps(line) + '\n')
                ref_id += 1
                sent_id += len(sentences)
            if progress is not None:
                progress(image_id + 1, total)
    (folder / 'instances.json').write_text(json.dumps(instances), encoding='utf-8')


def is_complete(folder: Path, wanted: SyntheticSet) -> bool:
    """Whether a folder holds exactly the wanted set."""
    if not all((folder / entry).exists() for entry in ENTRIES):
        return False
    try:
        info = json.loads((folder / 'instances.json').read_text(encoding='utf-8')).get('info')
    except (ValueError, AttributeError):
        return False
    names = {path.name for path in (folder / 'images').iterdir()}
    return info == wanted.info and all(image_name(*task) in names for task in wanted.tasks)


def generate_set(
    wanted: SyntheticSet,
    out: Path,
    workers: int = 1,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Write a set, unless its folder holds it already. A set that is interrupted leaves no folder.

    Args:
        wanted: Parameters of the set.
        out: Folder of the set.
        workers: Number of processes; the content does not depend on it.
        overwrite: Replace another set in the folder.
        progress: Function that is called after each image, with the number of images done and of all.

    Returns:
        Whether the set was written; False if the folder held it already.

    Raises:
        FileExistsError: If the folder holds something else, and `overwrite` is off or it is no prepared folder.
        OSError: If a file cannot be written.
    """
    out = out.resolve()
    if out.is_dir() and is_complete(out, wanted):
        return False
    with prepared_folder(out, overwrite) as folder:
        _write(wanted, folder, workers, progress)
    return True


def default_set(
    level: str, seed: int = 0, size: int | None = None, counts: dict[str, int] | None = None
) -> SyntheticSet:
    """Default set of a level: 8000 images of train and 400 of each other split, unless `counts` says otherwise."""
    usual = dict.fromkeys(SPLITS, 400) | {'train': 8000}
    usual.update(counts or {})
    if size is None:
        size = LEVELS[level].size
    return SyntheticSet(level=level, seed=seed, size=size, counts=usual)
