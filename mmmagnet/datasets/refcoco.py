"""RefCOCO and every set prepared like it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmmagnet.registry import DATASETS
from mmmagnet.utils.errors import DataError

from .randomness import Draw, make_draw, random_state_of, split_visit
from .refs_io import count_distractors, read_instances, read_refs


@DATASETS.register_module()
class RefCOCODataset(BaseDataset):
    """One split of a prepared folder (``refs.jsonl``, ``instances.json``, ``images/``).

    A training item is a ref with all its sentences, of which the pipeline draws one at each visit; a test item is one
    (ref, sentence) pair, in the order of the file, with `distractors`: how many other objects of its category are
    annotated in its image, COCO's crowds not counted. Items are kept serialised in one buffer, which forked workers
    share.

    What is drawn for an item depends on seed, epoch and item alone where `EpochSampler` gives the order: our transforms
    draw from ``results['draw']``, and Python's and numpy's random state, of which others draw, is set from it.

    Args:
        data_root: The prepared folder.
        split: ``train``, ``val``, ``testA`` ...
        pipeline: Transforms.
        data_prefix: ``img_path``, folder of the images, under `data_root`. Default: ``images``.
        test_mode: Test items instead of training items.
        seed: Of what is drawn for training items.
        swap_expressions: Give each test item the sentences of another ref of its image, to see whether a network
            reads them. Refs that are alone in their image are left out.
        text_field: ``raw``, as LAVT and MagNet have it, or ``sent``, the cleaned text of REFER's files, as CARIS has.
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
        self.text_field = text_field
        self.split = split
        self.seed = seed
        self.swap_expressions = swap_expressions
        self.by_visit = False  # set by EpochSampler
        self._left_out: Collection[int] = ()
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

    def leave_out(self, image_ids: Collection[int]) -> None:
        """Leave out the refs of these images. For a dataset built with ``lazy_init``, before anything is read."""
        if self._fully_initialized:
            raise RuntimeError(f'{self.ann_file}: is read already; build it with lazy_init=True to leave images out')
        self._left_out = image_ids

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the split's refs and join their images and annotations."""
        refs = self._read_refs()
        instances = read_instances(Path(self.data_root, 'instances.json'), refs, count_objects=self.test_mode)
        pairs: list[tuple[dict, list[dict]]] = [(ref, ref['sentences']) for ref in refs]
        if self.swap_expressions:
            pairs = swap_sentences(refs)
            left_out = f'{len(refs) - len(pairs)} of {len(refs)} refs are alone in their image'
            if not pairs:
                raise DataError(f'{self.ann_file}: split {self.split!r} cannot exchange expressions: {left_out}')
            print_log(f'{self.split}: expressions are exchanged; {left_out} and left out', 'current')
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
                said = self._text(ref, sentence)
                items.append({**item, 'sentences': [said], 'sent_id': sentence['sent_id'], **extra})
        return items

    def _text(self, ref: dict, sentence: dict) -> str:
        text = sentence.get(self.text_field)
        if not isinstance(text, str):
            raise DataError(
                f'{self.ann_file}, ref {ref["ref_id"]}: a sentence has no field {self.text_field}; convert the set '
                "again, or leave text_field='raw'"
            )
        return text

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
        epoch, item = split_visit(visit, len(self))
        return self.prepare_item(item, make_draw(self.seed, epoch, item, self.by_visit or self.test_mode))

    def prepare_item(self, item: int, draw: Draw) -> Any:
        """Run the pipeline on an item, with all that is random in it by `draw`."""
        results = self.get_data_info(item)
        results['draw'] = draw
        path = results['img_path']
        try:
            with random_state_of(draw):
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
        refs: list[dict] = []
        images_of: dict[str, set[int]] = defaultdict(set)
        for ref in read_refs(path, self.split):
            images_of[ref['split']].add(ref['image_id'])
            if ref['split'] == self.split:
                refs.append(ref)
        if not refs:
            raise DataError(f'{path}: split {self.split!r} has no refs; splits there: {", ".join(sorted(images_of))}')
        own = images_of.pop(self.split)
        if self._left_out:
            refs, whole = [ref for ref in refs if ref['image_id'] not in self._left_out], len(refs)
            kept = {ref['image_id'] for ref in refs}
            print_log(
                f'{path}: split {self.split!r} goes without {whole - len(refs)} of its {whole} refs, on '
                f'{len(own) - len(kept)} of its {len(own)} images',
                'current',
            )
            own, self._left_out = kept, ()
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
    """Pair each ref with the sentences of the next ref of its image that means something else, going around."""
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
