"""RefCOCO and every set prepared like it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log
from PIL import Image

from mmmagnet.registry import DATASETS
from mmmagnet.utils.errors import ConfigError, DataError

from .instances_io import Instances
from .randomness import ItemIndex, seeded, split_index
from .refs_io import Refs


@DATASETS.register_module()
class RefCOCODataset(BaseDataset):
    """One split of a prepared folder (``refs.jsonl``, ``instances.json``, ``images/``).

    A training item is a ref with all its sentences, of which the pipeline samples one each time. A test item is one
    (ref, sentence) pair, in the order of the file. Its `distractors` counts the other objects of its category in its
    image, COCO's crowds left out. Items stay in the files; the places where they are fill a memory-mapped index,
    which all workers and processes share (`IndexedFile`).

    ``dataset[i]`` is item i as epoch 0 shows it, and ``dataset[epoch, i]`` as another epoch does. All that is random in
    it follows from (seed, epoch, i): our transforms draw from ``results['rng']``, and Python's, NumPy's and PyTorch's
    random states, from which other transforms draw, are set for the item. Train with `EpochSampler`; samplers that
    give plain integers show epoch 0 in every epoch.

    Args:
        data_root: The prepared folder.
        split: ``train``, ``val``, ``testA`` ...
        pipeline: Transforms.
        data_prefix: ``img_path``, folder of the images, under `data_root`. Default: ``images``.
        test_mode: Test items instead of training items.
        swap_expressions: Give each test item the sentences of another ref of its image, to see whether a network
            reads them. Refs that are alone in their image are left out.
        text_field: Which text of a sentence is its expression: ``raw`` (read by MagNet and LAVT) or ``sent``, cleaned.
        indices: Use only these items, or the first so many.
        lazy_init: Wait with reading until `full_init`.

    Attributes:
        seed: Seed of the items, 0 at first. In a training it is ``randomness.seed``, which `EpochSamplerHook` sets.

    Raises:
        DataError: If a file is missing or damaged, the split does not exist, or a ref names what is not there; at an
            item, if its image cannot be read.

    Example:
        >>> dataset = RefCOCODataset('data/refcoco_unc', split='train', pipeline=[dict(type='SampleExpression')])
        >>> len(dataset)
        42404
        >>> dataset[0]['ref_id'] == dataset[5, 0]['ref_id']  # in epoch 5, with another expression perhaps
        True
    """

    METAINFO = {'classes': ('background', 'referred'), 'palette': [[0, 0, 0], [255, 64, 64]]}  # noqa: RUF012
    takes_epoch = True  # EpochSampler looks for it

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: Sequence[dict | Callable] = (),
        data_prefix: dict[str, str] | None = None,
        test_mode: bool = False,
        swap_expressions: bool = False,
        text_field: str = 'raw',
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
    ) -> None:
        if swap_expressions and not test_mode:
            raise ValueError('swap_expressions is for scoring: set test_mode=True')
        if text_field not in ('raw', 'sent'):
            raise ValueError(f"text_field={text_field!r}: give 'raw' or 'sent'")
        self.split = split
        self.seed = 0
        self.swap_expressions = swap_expressions
        self.text_field = text_field
        self._excluded = np.empty(0, np.int64)
        super().__init__(
            ann_file='refs.jsonl',
            data_root=str(data_root),
            data_prefix=data_prefix or dict(img_path='images'),
            indices=indices,
            serialize_data=False,  # the list of items is an array
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def exclude_images(self, image_ids: Collection[int]) -> None:
        """Leave out the refs of these images, in a dataset that was built with ``lazy_init`` and is not read yet.

        Raises:
            RuntimeError: If the dataset is read already.
        """
        if self._fully_initialized:
            raise RuntimeError(f'{self.ann_file}: is read already; build it with lazy_init=True to exclude images')
        self._excluded = np.array(list(image_ids), np.int64)

    def load_data_list(self) -> np.ndarray:
        """Choose the split's items.

        Returns:
            Ref, ref whose sentences it has, and number of the sentence (-1 for all) of each item, (items, 3).
        """
        self._refs = Refs(Path(self.ann_file))
        rows = self._choose()
        self._instances = Instances(Path(self.data_root, 'instances.json'))
        self._instances.require(self._refs, rows)
        pairs = np.stack([rows, rows], axis=1)
        if self.swap_expressions:
            pairs = swap_sentences(self._refs, rows)
            left_out = f'{len(rows) - len(pairs)} of {len(rows)} refs are alone in their image'
            if not len(pairs):
                raise DataError(f'{self.ann_file}: split {self.split!r} cannot swap expressions: {left_out}')
            print_log(f'{self.split}: expressions are swapped; {left_out} and left out', 'current')
        speakers = pairs[:, 1]
        unclean = speakers[~self._refs.cleaned[speakers]]
        if self.text_field == 'sent' and unclean.size:
            raise DataError(
                f"{self.ann_file}: ref {self._refs.read(unclean[0])['ref_id']} has a sentence without 'sent': convert "
                "the set again, or set text_field='raw'"
            )
        numbers = np.full(len(pairs), -1)
        if self.test_mode:
            times = self._refs.sentences[speakers]
            pairs = np.repeat(pairs, times, axis=0)
            numbers = np.arange(len(pairs)) - np.repeat(np.cumsum(times) - times, times)
        return np.column_stack([pairs, numbers]).astype(np.int32)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Read an item from the files.

        Raises:
            DataError: If a file has changed since it was opened.
        """
        row, speaker, number = self.data_list[idx].tolist()
        ref = self._refs.read(row)
        file_name, width, height = self._instances.image(ref['image_id'])
        objects = {ann_id: self._instances.annotation(ann_id) for ann_id in ref['ann_ids']}
        item = {
            'img_path': f'{self.data_prefix["img_path"]}/{file_name}',
            'height': height,
            'width': width,
            'segmentations': [objects[ann_id].segmentation for ann_id in ref['ann_ids']],
            'ref_id': ref['ref_id'],
            'split': self.split,
            'sample_idx': idx if idx >= 0 else len(self) + idx,
        }
        sentences = ref['sentences'] if speaker == row else self._refs.read(speaker)['sentences']
        if not self.test_mode:
            return {**item, 'sentences': [sentence[self.text_field] for sentence in sentences]}
        distractors = self._instances.count_distractors(ref['image_id'], objects.values())
        if distractors is not None:
            item['distractors'] = distractors
        sentence = sentences[number]
        if 'family' in sentence:
            item['family'] = sentence['family']
        return {**item, 'sentences': [sentence[self.text_field]], 'sent_id': sentence['sent_id']}

    def __getitem__(self, index: ItemIndex) -> Any:
        """Item `index`, or `(epoch, index)`, through the pipeline; never another one in its place."""
        epoch, index = split_index(index, len(self))
        return self.prepare_data(index, (self.seed, epoch, index))

    def prepare_data(self, idx: int, randomness: tuple[int, int, int] | None = None) -> Any:
        """Run the pipeline on an item.

        Args:
            idx: The item.
            randomness: Seed, epoch and index that all that is random follows from. Default: the item's in epoch 0.
        """
        results = self.get_data_info(idx)
        path = results['img_path']
        try:
            with seeded(*(randomness or (self.seed, 0, idx))) as results['rng']:
                packed = self.pipeline(results)
        except Image.DecompressionBombError as error:
            raise DataError(
                f'{path}: too large ({error}); make the image smaller, and convert the set again'
            ) from error
        except (OSError, SyntaxError) as error:  # what Pillow raises for damaged files
            if not Path(path).is_file():
                raise DataError(
                    f'{path}: no such image; put the images there, or a link to their folder at '
                    f'{self.data_prefix["img_path"]}'
                ) from error
            raise DataError(f'{path}: cannot be read as an image ({error}); copy or download it again') from error
        if packed is None:
            raise DataError(f'{path}: a transform of the pipeline returned None; every item must come through')
        return packed

    def get_cat_ids(self, idx: int) -> list[int]:
        """Nothing: MMEngine's ClassBalancedDataset asks.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            'ClassBalancedDataset: an expression means an object and not a class, so there is nothing to balance; give '
            'train_dataloader.dataset the RefCOCODataset itself'
        )

    def _choose(self) -> np.ndarray:
        """Numbers of the split's refs, without those of excluded images."""
        path, image_id, split = self.ann_file, self._refs.image_id, self.split
        rows = self._refs.rows(split)
        if not rows.size:
            raise DataError(
                f'{path}: split {split!r} has no refs; splits there: {", ".join(sorted(self._refs.splits))}'
            )
        images = self._refs.images_of_splits()
        own = images.pop(split)
        if self._excluded.size:
            kept = rows[~np.isin(image_id[rows], self._excluded)]
            images_kept = np.unique(image_id[kept])
            print_log(
                f'{path}: split {split!r} excludes {len(rows) - len(kept)} of its {len(rows)} refs, on '
                f'{len(own) - len(images_kept)} of its {len(own)} images',
                'current',
            )
            if not kept.size:
                raise DataError(f'{path}: no ref of split {split!r} is left: all its images are held out')
            rows, own = kept, images_kept
        shared = {other: np.intersect1d(own, theirs, assume_unique=True).size for other, theirs in images.items()}
        if any(shared.values()) and not self.test_mode:
            print_log(
                f'{path}: of the {len(own)} images of split {split!r}, other splits of this set have some too '
                f'({", ".join(f"{other}: {number}" for other, number in sorted(shared.items()) if number)}); used as '
                'published, like the google partition of RefCOCOg, which is by object',
                'current',
            )
        return rows


def swap_sentences(refs: Refs, rows: np.ndarray) -> np.ndarray:
    """Pairs of a ref and the next ref of its image with another object, in a circle; by their numbers, (pairs, 2)."""
    ordered = rows[np.argsort(refs.image_id[rows], kind='stable')].tolist()
    pairs = []
    for _, group in itertools.groupby(ordered, key=refs.image_id.__getitem__):
        members = [(row, refs.objects(row)) for row in group]
        for place, (row, objects) in enumerate(members):
            others = members[place + 1 :] + members[:place]
            other = next((other for other, others_objects in others if others_objects != objects), None)
            if other is not None:
                pairs.append((row, other))
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
