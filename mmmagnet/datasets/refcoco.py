"""RefCOCO and every set prepared like it."""

from __future__ import annotations

import gc
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmmagnet.registry import DATASETS
from mmmagnet.utils import DataError


@DATASETS.register_module()
class RefCOCODataset(BaseDataset):
    """One split of a prepared folder (``refs.jsonl``, ``instances.json``, ``images/``).

    A training item is a ref with all its sentences, of which the pipeline draws one at each visit; a test item is one
    (ref, sentence) pair, in the order of the file. Items are kept serialised in one buffer, which forked workers share.

    Args:
        data_root: The prepared folder.
        split: ``train``, ``val``, ``testA`` ...
        pipeline: Transforms.
        data_prefix: ``img_path``, folder of the images, under `data_root`. Default: ``images``.
        test_mode: Test items instead of training items.
        seed: Of what is drawn for training items.
        exchange_expressions: Give each test item the sentences of another ref of its picture, to see whether a network
            reads them. Refs that are alone in their picture are left out.
        indices: Use only these items, or the first so many.
        serialize_data: Keep items in one shared buffer.
        lazy_init: Wait with reading until `full_init`.

    Raises:
        DataError: If a file is missing or damaged, the split does not exist, or a ref names what is not there; at an
            item, if its image cannot be read.
    """

    METAINFO = {'classes': ('background', 'referred'), 'palette': [[0, 0, 0], [255, 64, 64]]}  # noqa: RUF012

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: Sequence[dict | Callable] = (),
        data_prefix: dict[str, str] | None = None,
        test_mode: bool = False,
        seed: int = 0,
        exchange_expressions: bool = False,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        lazy_init: bool = False,
    ) -> None:
        if exchange_expressions and not test_mode:
            raise ValueError('exchange_expressions is for scoring: set test_mode=True')
        self.split = split
        self.seed = seed
        self.exchange_expressions = exchange_expressions
        self.by_visit = False  # set by EpochSampler
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

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the split's refs and join their images and annotations."""
        refs = self._read_refs()
        images, segmentations = self._read_instances(refs)
        pairs: list[tuple[dict, list[dict]]] = [(ref, ref['sentences']) for ref in refs]
        if self.exchange_expressions:
            pairs = exchange_sentences(refs)
            left_out = f'{len(refs) - len(pairs)} of {len(refs)} refs are alone in their picture'
            if not pairs:
                raise DataError(f'{self.ann_file}: split {self.split!r} cannot exchange expressions: {left_out}')
            print_log(f'{self.split}: expressions are exchanged; {left_out} and left out', 'current')
        items = []
        for ref, sentences in pairs:
            file_name, width, height = images[ref['image_id']]
            item = {
                'img_path': f'{self.data_prefix["img_path"]}/{file_name}',
                'height': height,
                'width': width,
                'segmentations': [segmentations[ann_id] for ann_id in ref['ann_ids']],
                'ref_id': ref['ref_id'],
                'split': self.split,
            }
            if not self.test_mode:
                items.append({**item, 'sentences': [sentence['raw'] for sentence in sentences]})
                continue
            for sentence in sentences:
                extra = {'family': sentence['family']} if 'family' in sentence else {}
                items.append({**item, 'sentences': [sentence['raw']], 'sent_id': sentence['sent_id'], **extra})
        return items

    def __getitem__(self, visit: int) -> Any:
        """The item of a visit, ``epoch * len(self) + item``, through the pipeline. Never another one in its place."""
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(visit)

    def __iter__(self) -> Iterator[Any]:
        """All items once, at epoch 0: visits have no end that would stop a loop over the dataset."""
        return (self[item] for item in range(len(self)))

    def prepare_data(self, visit: int) -> Any:
        """Take a visit apart and run the pipeline on its item."""
        if visit < 0:  # from the end, as a list counts
            visit += len(self)
            if visit < 0:
                raise IndexError(f'visit {visit - len(self)} of {len(self)} items')
        epoch, item = divmod(visit, len(self))
        results = self.get_data_info(item)
        seeded = self.by_visit or self.test_mode  # other samplers do not tell the epoch: draw anew by numpy's state
        results['draw'] = (self.seed, epoch, item) if seeded else tuple(np.random.randint(2**31, size=3).tolist())
        path = results['img_path']
        try:
            packed = self.pipeline(results)
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

    def _read_refs(self) -> list[dict]:
        path = Path(self.ann_file)
        if not path.is_file():
            raise DataError(
                f'{path}: no prepared set there; write it with tools/dataset_converters/refer.py (or synthetic.py), '
                'or give its folder as data_root'
            )
        refs: list[dict] = []
        splits: set[str] = set()
        with path.open('rb') as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    ref = json.loads(line)
                    splits.add(ref['split'])
                    if ref['split'] == self.split:
                        _check_ref(ref)
                        refs.append(ref)
                except KeyError as error:
                    raise DataError(
                        f'{path}, line {number}: field {error} is missing; convert the set again'
                    ) from error
                except (ValueError, TypeError) as error:
                    raise DataError(f'{path}, line {number}: not a ref ({error}); convert the set again') from error
        if not refs:
            raise DataError(f'{path}: split {self.split!r} has no refs; splits there: {", ".join(sorted(splits))}')
        return refs

    def _read_instances(self, refs: list[dict]) -> tuple[dict[int, tuple[str, int, int]], dict[int, Any]]:
        """File name, width and height by image id, and segmentations by annotation id, of what the refs name."""
        path = Path(self.data_root, 'instances.json')
        if not path.is_file():
            raise DataError(f'{path}: is missing; convert the set again')
        image_ids = {ref['image_id'] for ref in refs}
        ann_ids = {ann_id for ref in refs for ann_id in ref['ann_ids']}

        def needed(entry: dict) -> dict | None:  # the others are gone before the file is read to its end
            return None if 'segmentation' in entry and entry.get('id') not in ann_ids else entry

        try:
            with _no_collection():
                content = json.loads(path.read_text(encoding='utf-8'), object_hook=needed)
            images = {
                image['id']: (str(image['file_name']), int(image['width']), int(image['height']))
                for image in content['images']
                if image['id'] in image_ids
            }
            segmentations = {
                ann['id']: ann['segmentation'] for ann in content['annotations'] if ann and ann['id'] in ann_ids
            }
        except KeyError as error:
            raise DataError(f'{path}: field {error} is missing; convert the set again') from error
        except (ValueError, TypeError) as error:
            raise DataError(f'{path}: not COCO instances ({error}); convert the set again') from error
        for ref in refs:
            unknown = [ann_id for ann_id in ref['ann_ids'] if ann_id not in segmentations]
            if unknown or ref['image_id'] not in images:
                what = f'annotation {unknown[0]}' if unknown else f'image {ref["image_id"]}'
                raise DataError(f'{path}: has no {what}, which ref {ref["ref_id"]} names; convert the set again')
        return images, segmentations


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's search for cycles, which doubles the time of reading a large JSON file."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def exchange_sentences(refs: list[dict]) -> list[tuple[dict, list[dict]]]:
    """Pair each ref with the sentences of the next ref of its picture that means something else, going around."""
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


def _check_ref(ref: dict) -> None:
    """Raise KeyError, TypeError or ValueError unless a line has the fields of a ref."""
    for field, kind in (('ref_id', int), ('image_id', int), ('ann_ids', list), ('sentences', list)):
        if not isinstance(ref[field], kind):
            raise TypeError(f'{field} is {ref[field]!r}')
    if not ref['sentences']:
        raise ValueError(f'ref {ref["ref_id"]} has no sentences')
    for sentence in ref['sentences']:
        if not isinstance(sentence['raw'], str) or not isinstance(sentence['sent_id'], int):
            raise TypeError(f'sentence {sentence!r}')
