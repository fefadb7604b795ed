"""What every converter shares: refs, and the prepared folder that is written of them and their instances."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .common import prepared_folder
from .images import place_images
from .matching import matching_instances
from .reading import short, take

MAX_REFS = 1_000_000
MAX_WRITTEN = 2**30  # characters; a few bytes of a pickle or parquet file can stand for any number


@dataclass
class Conversion:
    """What a conversion wrote.

    Attributes:
        counts: Split -> number of refs, sentences and images.
        warnings: What the user should know, one sentence each.
        targets: Number of sentences that mean nothing, one object, and several.
    """

    counts: dict[str, tuple[int, int, int]]
    warnings: list[str] = field(default_factory=list)
    targets: tuple[int, int, int] = (0, 0, 0)

    def lines(self) -> list[str]:
        """The counts as a table for people."""
        rows = [f'{split:<10}{refs:>8}{said:>11}{images:>8}' for split, (refs, said, images) in self.counts.items()]
        nothing, one, several = self.targets
        if nothing or several:
            rows.append(f'sentences that mean nothing: {nothing}, one object: {one}, several: {several}')
        return [f'{"split":<10}{"refs":>8}{"sentences":>11}{"images":>8}', *rows]


class RefTable:
    """The refs of a set, checked one by one.

    Example:
        >>> table = RefTable()
        >>> record = dict(ref_id=0, image_id=5, split='train')
        >>> table.add(record, [7], 1, [dict(raw='the left cup', sent_id=0)], 'refs(unc).p, ref 0')
        >>> table.refs[0]['ann_ids']
        [7]

    Attributes:
        refs: Lines of ``refs.jsonl``.
        skipped: Why refs are left out -> how many are.
        blank: Number of sentences without a word, which are left out.
        without_raw: Number of sentences without the field ``raw``, for which ``sent`` stands.
    """

    def __init__(self) -> None:
        self.refs: list[dict[str, Any]] = []
        self.skipped: Counter[str] = Counter()
        self.blank = 0
        self.without_raw = 0
        self._written = 0

    def add(
        self,
        record: dict[str, Any],
        ann_ids: list[int],
        category_id: int | None,
        sentences: list[Any],
        where: str,
        size: int = 0,
    ) -> None:
        """Add a ref; one without a word is left out and counted.

        Args:
            record: Dict with ``ref_id``, ``image_id`` and ``split``.
            ann_ids: Annotations of the objects; none for an expression without target.
            category_id: Category of the objects; None where they have several or none.
            sentences: Dicts with ``sent_id``, and ``raw``, ``sent`` or both.
            where: File and ref, for messages.
            size: Characters that are written beside the sentences.

        Raises:
            DataError: If a field is missing or of another kind, or the set is too large.
        """
        kept = []
        for sentence in sentences:
            if not isinstance(sentence, dict):
                raise DataError(f'{where}: a sentence is {short(sentence)}; expected a dict: download the file again')
            cleaned = {'sent': take(sentence, 'sent', str, where)} if 'sent' in sentence else {}
            alone = 'raw' not in sentence and bool(cleaned)
            raw = cleaned['sent'] if alone else take(sentence, 'raw', str, where)
            sent_id = take(sentence, 'sent_id', int, where)
            if raw.strip():
                kept.append({'sent_id': sent_id, 'raw': raw, **cleaned})
                self.without_raw += alone
            size += len(raw) + len(cleaned.get('sent', ''))
        self._written += size + 8 * len(ann_ids)
        if self._written > MAX_WRITTEN or len(self.refs) >= MAX_REFS:
            raise DataError(f'{where}: more than {MAX_REFS} refs or {MAX_WRITTEN} characters: give files of refs')
        ref = {name: take(record, name, int, where) for name in ('ref_id', 'image_id')} | {'ann_ids': ann_ids}
        if category_id is not None:
            ref['category_id'] = category_id
        split = take(record, 'split', str, where)
        if not kept:
            self.skipped['no sentence with a word' if sentences else 'no sentences'] += 1
            return
        self.refs.append({**ref, 'split': split, 'sentences': kept})
        self.blank += len(sentences) - len(kept)

    def warnings(self) -> list[str]:
        """What is left out, one sentence each."""
        told = [f'skipped {number} refs: {reason}' for reason, number in self.skipped.items()]
        if self.blank:
            told.append(f'{self.blank} sentences without a word are left out')
        if self.without_raw:
            told.append(
                f'{self.without_raw} sentences have no raw text: their cleaned one (sent) stands in for it, while '
                'published scores are of the raw one'
            )
        return told


def write_set(
    table: RefTable, content: Any, sources: tuple[Path, Path], out: Path, images: Path, overwrite: bool = False
) -> Conversion:
    """Write ``refs.jsonl``, ``instances.json`` and the link ``images``, whole or not at all.

    Where links are impossible the set is written without, and a warning says where to put the images.

    Args:
        table: The refs.
        content: COCO's ``images``, ``annotations`` and ``categories``.
        sources: File of the refs and file of the instances, for messages.
        out: The prepared folder.
        images: Folder of the images.
        overwrite: Replace a prepared folder that is there.

    Raises:
        DataError: If the instances lack a field, refs name what they do not have, or no ref can be used.
        OSError: If `out` cannot be written or replaced.
    """
    instances, refs = matching_instances(content, sources[1], table.refs, sources[0], table.skipped)
    if not refs:
        raise DataError('; '.join([f'{sources[0]}: holds no ref that can be used', *table.warnings()]))
    instances['images'], told = place_images(images, out, instances['images'])
    conversion = Conversion(_count(refs), table.warnings() + told, _count_targets(refs))
    linked = out / 'images'
    if linked.is_dir() and not linked.is_symlink():
        raise FileExistsError(f'{linked}: is a folder of its own, not a link: not overwritten, move it away first')
    with prepared_folder(out.absolute(), overwrite) as folder:
        with (folder / 'refs.jsonl').open('w', encoding='utf-8', newline='\n') as file:
            file.writelines(json.dumps(ref, ensure_ascii=False) + '\n' for ref in refs)
        (folder / 'instances.json').write_text(json.dumps(instances, separators=(',', ':')), encoding='utf-8')
        if images.is_dir():
            try:
                (folder / 'images').symlink_to(images.resolve(), target_is_directory=True)
            except OSError as error:  # a file system without links, or no right to make one
                conversion.warnings.append(
                    f'{images}: cannot be linked there ({error}): copy or move the images to {linked}, or train with '
                    f'data_prefix=dict(img_path={str(images.resolve())!r}) in the datasets of the config'
                )
    return conversion


def _count(refs: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """Split -> number of refs, sentences and images, in the order of the file."""
    number = Counter(ref['split'] for ref in refs)
    sentences = Counter(ref['split'] for ref in refs for _ in ref['sentences'])
    images = Counter(split for split, _ in {(ref['split'], ref['image_id']) for ref in refs})
    return {split: (number[split], sentences[split], images[split]) for split in number}


def _count_targets(refs: list[dict[str, Any]]) -> tuple[int, int, int]:
    number = Counter(min(len(ref['ann_ids']), 2) for ref in refs for _ in ref['sentences'])
    return number[0], number[1], number[2]
