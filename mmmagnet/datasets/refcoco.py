"""RefCOCO and every set prepared like it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import Image

from mmmagnet.registry import DATASETS
from mmmagnet.utils.errors import ConfigError, DataError

from .randomness import ItemIndex, seeded, split_index
from .refs_io import count_distractors, read_instances, read_refs


@DATASETS.register_module()
class RefCOCODataset(BaseDataset):
    """One split of a prepared folder (``refs.jsonl``, ``instances.json``, ``images/``).

    A training item is a ref with all its sentences, of which the pipeline samples one each time. A test item is one
    (ref, sentence) pair, in the order of the file. Its `distractors` counts the other objects of its category in its
    image, COCO's crowds left out. Items are kept serialised in one buffer, which forked workers share.

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
        serialize_data: Keep items in one shared buffer.
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
        serialize_data: bool = True,
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
        self._excluded: Collection[int] = ()
        super().__init__(
            ann_file='refs.jsonl',
            data_root=str(data_root),
            data_prefix=data_prefix or dict(img_path='images'),
            indices=indices,
            serialize_data=serialize_data,
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
        self._excluded = image_ids

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the split's refs and join their images and annotations."""
        refs = self._read_refs()
        instances = read_instances(Path(self.data_root, 'instances.json'), refs, count_objects=self.test_mode)
        pairs: list[tuple[dict, list[dict]]] = [(ref, ref['sentences']) for ref in refs]
        if self.swap_expressions:
            pairs = swap_sentences(refs)
            left_out = f'{len(refs) - len(pairs)} of {len(refs)} refs are alone in their image'
            if not pairs:
                raise DataError(f'{self.ann_file}: split {self.split!r} cannot swap expressions: {left_out}')
            print_log(f'{self.split}: expressions are swapped; {left_out} and left out', 'current')
        items = []
        for ref, sentences in pairs:
            file_name, width, height = instances.images[ref['image_id']]
            item = {
                'img_path': f'{self.data_prefix["img_path"]}/{file_name}',
                'height': height,
                'width': width,
                'segmentations': [instances.annotations[ann_id].segmentation for ann_id in ref['ann_ids']],
                'ref_id': ref['ref_id'],
                'split': self.split,
            }
            if not self.test_mode:
                items.append({**item, 'sentences': [self._text(ref, sentence) for sentence in sentences]})
                continue
            distractors = count_distractors(ref, instances)
            if distractors is not None:
                item['distractors'] = distractors
            for sentence in sentences:
                extra = {'family': sentence['family']} if 'family' in sentence else {}
                items.append(
                    {**item, 'sentences': [self._text(ref, sentence)], 'sent_id': sentence['sent_id'], **extra}
                )
        return items

    def _text(self, ref: dict, sentence: dict) -> str:
        text = sentence.get(self.text_field)
        if not isinstance(text, str):
            raise DataError(
                f'{self.ann_file}: ref {ref["ref_id"]} has a sentence without {self.text_field!r}: convert the set '
                "again, or set text_field='raw'"
            )
        return text

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

    def _read_refs(self) -> list[dict]:
        path = Path(self.ann_file)
        refs: list[dict] = []
        images_of: dict[str, set[int]] = defaultdict(set)
        for ref in read_refs(path, self.split):
            images_of[ref['split']].add(ref['image_id'])
            if ref['split'] == self.split:
                refs.append(ref)
        if not refs:
            raise DataError(f'{path}: split {self.split!r} has no refs; splits there: {", ".join(sorted(images_of))}')
        own = images_of.pop(self.split)
        if self._excluded:
            refs, whole = [ref for ref in refs if ref['image_id'] not in self._excluded], len(refs)
            kept = {ref['image_id'] for ref in refs}
            print_log(
                f'{path}: split {self.split!r} excludes {whole - len(refs)} of its {whole} refs, on '
                f'{len(own) - len(kept)} of its {len(own)} images',
                'current',
            )
            own, self._excluded = kept, ()
            if not refs:
                raise DataError(f'{path}: no ref of split {self.split!r} is left: all its images are held out')
        shared = {split: len(own & images) for split, images in images_of.items() if own & images}
        if shared and not self.test_mode:
            print_log(
                f'{path}: of the {len(own)} images of split {self.split!r}, other splits of this set have some too '
                f'({", ".join(f"{split}: {number}" for split, number in sorted(shared.items()))}); used as published, '
                'like the google partition of RefCOCOg, which is by object',
                'current',
            )
        return refs


def swap_sentences(refs: list[dict]) -> list[tuple[dict, list[dict]]]:
    """Pairs of a ref and the sentences of the next ref of its image with another object, in a circle."""
    by_image: dict[int, list[dict]] = defaultdict(list)
    for ref in refs:
        by_image[ref['image_id']].append(ref)
    pairs = []
    for ref in refs:
        group = by_image[ref['image_id']]
        start = group.index(ref)
        others = (group[(start + step) % len(group)] for step in range(1, len(group)))
        other = next((other for other in others if other['ann_ids'] != ref['ann_ids']), None)
        if other is not None:
            pairs.append((ref, other['sentences']))
    return pairs
