"""Several sets as one training set."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from mmmagnet.registry import DATASETS

from .randomness import ItemIndex, split_index
from .refcoco import RefCOCODataset
from .refs_io import Refs


@DATASETS.register_module()
class MixedReferringDataset(Dataset):
    """Training splits of several sets, one after another, without the images that any of the sets holds out.

    The sets share COCO's images: an image that one set trains on is in another's val or test. An image is held out if a
    set has it in a split that the mix does not train on. Images are compared by id, so the sets must number them alike,
    as RefCOCO, RefCOCO+ and RefCOCOg do. A set used alone is as published: its own splits may share images, as those of
    RefCOCOg's google partition do.

    Indices are those of `RefCOCODataset`: what is random follows from the seed, the epoch and the place in the mix.

    Args:
        datasets: Configs of `RefCOCODataset`, for training.
        exclude_held_out: Leave out the refs of images that are held out. Off, scores on those splits mean little.
        lazy_init: Wait with reading until `full_init`.

    Attributes:
        seed: Seed of the items, 0 at first. In a training it is ``randomness.seed``, which `EpochSamplerHook` sets.

    Raises:
        DataError: As the datasets do, and if a set has no ref left.

    Example:
        >>> part = dict(type='RefCOCODataset', split='train', pipeline=[dict(type='SampleExpression')])
        >>> roots = 'data/refcoco_unc', 'data/refcoco+_unc', 'data/refcocog_umd'
        >>> dataset = MixedReferringDataset([dict(part, data_root=root) for root in roots])
        >>> dataset[0]['split']
        'train'
    """

    takes_epoch = True  # EpochSampler looks for it
    get_cat_ids = RefCOCODataset.get_cat_ids

    def __init__(
        self, datasets: Sequence[dict[str, Any]], exclude_held_out: bool = True, lazy_init: bool = False
    ) -> None:
        if not datasets:
            raise ValueError('MixedReferringDataset: datasets is empty; give the config of one set at least')
        self.datasets: list[RefCOCODataset] = [DATASETS.build({**part, 'lazy_init': True}) for part in datasets]
        if any(dataset.test_mode for dataset in self.datasets):
            raise ValueError('MixedReferringDataset is for training: leave test_mode out, and score one set at a time')
        self.exclude_held_out = exclude_held_out
        self.seed = 0
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
            dataset.exclude_images(held_out)
            dataset.full_init()
        self._ends = list(accumulate(map(len, self.datasets)))

    def __len__(self) -> int:
        self.full_init()
        return self._ends[-1]

    def __getitem__(self, index: ItemIndex) -> Any:
        """Item `index`, or `(epoch, index)`, through its set's pipeline."""
        epoch, index = split_index(index, len(self))
        number = bisect_right(self._ends, index)
        dataset = self.datasets[number]
        return dataset.prepare_data(index - self._ends[number] + len(dataset), (self.seed, epoch, index))

    def _held_out(self) -> np.ndarray:
        """Ids of the images that no part may train on."""
        trained: dict[Path, set[str]] = defaultdict(set)
        for dataset in self.datasets:
            trained[Path(dataset.ann_file)].add(dataset.split)
        held_out = np.empty(0, np.int64)
        if len(trained) == 1:
            return held_out
        if not self.exclude_held_out:
            print_log(
                'exclude_held_out=False: images of the val and test splits of these sets stay in training; scores on '
                'these splits cannot be compared with others',
                'current',
                logging.WARNING,
            )
            return held_out
        for path, splits in trained.items():
            images = Refs(path).images_of_splits()
            others = sorted(set(images) - splits)
            found = np.unique(np.concatenate([held_out[:0], *(images[split] for split in others)]))
            print_log(f'{path}: holds out the images of {", ".join(others) or "no split"}: {len(found)}', 'current')
            held_out = np.union1d(held_out, found)
        return held_out
