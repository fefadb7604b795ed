"""Several sets as one training set."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmmagnet.registry import DATASETS

from .randomness import make_draw, split_visit
from .refcoco import RefCOCODataset
from .refs_io import read_refs


@DATASETS.register_module()
class MixedReferringDataset(Dataset):
    """Training splits of several sets, one after another, without the images that any of the sets holds out.

    The sets share COCO's images: what one trains on is in another's val or test. An image is held out if a set has it
    in a split that the mix does not train on; by its id, so the sets must number their images alike, as RefCOCO,
    RefCOCO+ and RefCOCOg do. A set used alone is as published: nothing is held against it, also where its own train and
    val share images, as in RefCOCOg's google partition.

    Items are asked for by visit, as in `RefCOCODataset`, and what is drawn depends on seed, epoch and the item's place
    in the mix alone.

    Args:
        datasets: Configs of `RefCOCODataset`, for training.
        exclude_held_out: Leave out the refs of images that are held out. Off, scores on those splits mean little.
        lazy_init: Wait with reading until `full_init`.

    Raises:
        DataError: As the datasets do, and if a set has no ref left.
    """

    def __init__(
        self, datasets: Sequence[dict[str, Any]], exclude_held_out: bool = True, lazy_init: bool = False
    ) -> None:
        if not datasets:
            raise ValueError('MixedReferringDataset: datasets is empty; give the config of one set at least')
        self.datasets: list[RefCOCODataset] = [DATASETS.build({**part, 'lazy_init': True}) for part in datasets]
        if any(dataset.test_mode for dataset in self.datasets):
            raise ValueError('MixedReferringDataset is for training: leave test_mode out, and score one set at a time')
        self.exclude_held_out = exclude_held_out
        self.by_visit = False  # set by EpochSampler
        self.test_mode = False
        self.metainfo = self.datasets[0].metainfo
        self._ends: list[int] = []
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read all sets."""
        if self._ends:
            return
        held_out = self._held_out()
        for dataset in self.datasets:
            dataset.leave_out(held_out)
            dataset.full_init()
        self._ends = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        self.full_init()
        return self._ends[-1]

    def __getitem__(self, visit: int) -> Any:
        """The item of a visit, ``epoch * len(self) + item``, through its set's pipeline."""
        epoch, item = split_visit(visit, len(self))
        number = int(np.searchsorted(self._ends, item, side='right'))
        dataset = self.datasets[number]
        draw = make_draw(dataset.seed, epoch, item, self.by_visit)
        return dataset.prepare_item(item - self._ends[number] + len(dataset), draw)

    def __iter__(self) -> Iterator[Any]:
        """All items once, at epoch 0."""
        return (self[item] for item in range(len(self)))

    def _held_out(self) -> set[int]:
        """Ids of the images that no part may train on."""
        trained: dict[Path, set[str]] = defaultdict(set)
        for dataset in self.datasets:
            trained[Path(dataset.ann_file)].add(dataset.split)
        if len(trained) == 1:
            return set()
        if not self.exclude_held_out:
            print_log(
                'exclude_held_out=False: images of the val and test splits of these sets stay in training; scores on '
                'these splits cannot be compared with others',
                'current',
                logging.WARNING,
            )
            return set()
        held_out: set[int] = set()
        for path, splits in trained.items():
            found = {split: images for split, images in images_of_splits(path).items() if split not in splits}
            print_log(
                f'{path}: holds out the images of {", ".join(sorted(found)) or "no split"}: '
                f'{len(set().union(*found.values()))}',
                'current',
            )
            held_out.update(*found.values())
        return held_out


def images_of_splits(path: Path) -> dict[str, set[int]]:
    """Image ids by split, of a ``refs.jsonl``."""
    images: dict[str, set[int]] = defaultdict(set)
    for ref in read_refs(path):
        images[ref['split']].add(ref['image_id'])
    return images
