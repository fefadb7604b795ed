"""RefCOCO and every set prepared like it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmmagnet.registry import DATASETS
from mmmagnet.utils import DataError


@DATASETS.register_module()
class RefCOCODataset(BaseDataset):
    """One split of a prepared folder (``refs.jsonl``, ``instances.json``, ``images/``).

    A training item is a ref with all its sentences, of which the pipeline draws one at each visit; a test item is one
    (ref, sentence) pair. Items are kept serialised in one buffer, which forked workers share.

    Args:
        data_root: The prepared folder.
        split: ``train``, ``val``, ``testA`` ...
        data_prefix: ``img_path``, folder of the images, under `data_root`.
        pipeline: Transforms.
        test_mode: Test items instead of training items.
        seed: Of what is drawn for training items.
        exchange_expressions: Give each test item the sentences of another ref of its picture, to see whether a network
            reads them. Refs that are alone in their picture are left out.
        indices: Use only these items, or the first so many.
        serialize_data: Keep items in one shared buffer.
        lazy_init: Wait with reading until `full_init`.

    Raises:
        DataError: If a file is missing or damaged, the split does not exist, or a ref names what is not there.
    """

    METAINFO = {'classes': ('background', 'referred'), 'palette': [[0, 0, 0], [255, 64, 64]]}  # noqa: RUF012

    def __init__(
        self,
        data_root: str,
        split: str,
        pipeline: list[dict | Callable],
        data_prefix: dict | None = None,
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
        super().__init__(
            ann_file='refs.jsonl',
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='images'),
            indices=indices,
            serialize_data=serialize_data,
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the split's refs and join their images and annotations."""
        refs = self._read_refs()
        images, annotations = self._read_instances(refs)
        pairs: list[tuple[dict, list[dict]]] = [(ref, ref['sentences']) for ref in refs]
        if self.exchange_expressions:
            pairs = exchange_sentences(refs)
            print_log(
                f'expressions exchanged; {len(refs) - len(pairs)} refs alone in their picture left out', 'current'
            )
        items = []
        for ref, sentences in pairs:
            image = images[ref['image_id']]
            item = {
                'img_path': str(Path(self.data_prefix['img_path'], image['file_name'])),
                'height': image['height'],
                'width': image['width'],
                'segmentations': [annotations[ann_id]['segmentation'] for ann_id in ref['ann_ids']],
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
        """The item of a visit, ``epoch * len(self) + item``, through the pipeline."""
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(visit)

    def prepare_data(self, visit: int) -> Any:
        """Take a visit apart and run the pipeline on its item."""
        epoch, item = divmod(visit, len(self))
        results = self.get_data_info(item)
        results['draw'] = (self.seed, epoch, item)
        return self.pipeline(results)

    def _read_refs(self) -> list[dict]:
        path = Path(self.ann_file)
        if not path.is_file():
            raise DataError(
                f'{path}: no prepared set there; write it with tools/dataset_converters/refer.py (or synthetic.py), '
                'or give its folder as data_root'
            )
        refs, splits = [], set()
        with path.open(encoding='utf-8') as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    ref = json.loads(line)
                    splits.add(ref['split'])
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f'{path}, line {number}: not a ref ({error!r}); convert the set again') from error
                if ref['split'] == self.split:
                    refs.append(ref)
        if not refs:
            raise DataError(f'{path}: split {self.split!r} has no refs; splits there: {", ".join(sorted(splits))}')
        return refs

    def _read_instances(self, refs: list[dict]) -> tuple[dict[int, dict], dict[int, dict]]:
        path = Path(self.data_root, 'instances.json')
        try:
            content = json.loads(path.read_bytes())
            images = {image['id']: image for image in content['images']}
            wanted = {ann_id for ref in refs for ann_id in ref['ann_ids']}
            annotations = {ann['id']: ann for ann in content['annotations'] if ann['id'] in wanted}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f'{path}: not COCO instances ({error!r}); convert the set again') from error
        for ref in refs:
            unknown = [ann_id for ann_id in ref['ann_ids'] if ann_id not in annotations]
            if unknown or ref['image_id'] not in images:
                what = f'annotation {unknown[0]}' if unknown else f'image {ref["image_id"]}'
                raise DataError(f'{path}: has no {what}, which ref {ref["ref_id"]} names; convert the set again')
        return images, annotations


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
