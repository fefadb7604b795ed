"""Comparison of two models pair by pair, from the files that `ReferringSegMetric` writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmmagnet.utils.errors import DataError

from .bootstrap import Difference, compare
from .score_terms import score_terms

_FIELDS: dict[str, type] = {
    'split': str,
    'ref_id': int,
    'sent_id': int,
    'resolution': str,
    'image': str,
    'intersection': int,
    'union': int,
    'predicted': int,
    'no_target': bool,
    'mask': dict,
}
_Key = tuple[str, int, int]  # split, ref_id, sent_id


@dataclass(frozen=True)
class Comparison:
    """Differences between two models on one split at one resolution.

    Example:
        >>> for comparison in compare_files('lavt_val.jsonl', 'magnet_val.jsonl'):
        ...     print('\\n'.join(comparison.lines()))

    Attributes:
        split: Name of the split.
        resolution: ``input`` or ``original``.
        pairs: Number of pairs.
        images: Number of images.
        differences: One difference for each score.
    """

    split: str
    resolution: str
    pairs: int
    images: int
    differences: list[Difference]

    def lines(self) -> list[str]:
        """A heading, and a line for each score."""
        lines = [f'{self.split}, {self.resolution} resolution: {self.pairs} pairs in {self.images} images']
        return lines + [
            f'  {each.name:<5}  A {each.first:6.2f}  B {each.second:6.2f}  {each.verdict()}'
            for each in self.differences
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        differences = [{**asdict(each), 'significant': each.significant} for each in self.differences]
        return {**asdict(self), 'differences': differences}


def compare_files(first: str | Path, second: str | Path, resamples: int = 10000, seed: int = 0) -> list[Comparison]:
    """Compare two files of pairs, each split and resolution apart.

    Images are told apart by their whole path in the first file. Both files may name different folders for them.

    Args:
        first: File of model A, written by ``tools/test.py --out``.
        second: File of model B.
        resamples: Number of resamples, and of permutations (see `compare`).
        seed: Seed; equal seeds give equal results.

    Returns:
        One comparison for each split and resolution, in the order of the first file.

    Raises:
        DataError: If a file is damaged, or the files differ in pairs, ground truths, resolutions or sizes.
        OSError: If a file cannot be read.
    """
    groups_a, groups_b = _read_pairs(Path(first)), _read_pairs(Path(second))
    if groups_a.keys() != groups_b.keys():
        held = [
            ', '.join(f'{split} at {resolution}' for split, resolution in groups) for groups in (groups_a, groups_b)
        ]
        raise DataError(
            f'{first} holds {held[0]}, {second} {held[1]}: score both on the same splits with the same --resolution'
        )
    comparisons = []
    for (split, resolution), pairs_a in groups_a.items():
        pairs_b = groups_b[split, resolution]
        _check_same(pairs_a, pairs_b, first, second)
        keys = list(pairs_a)
        images = [pairs_a[key]['image'] for key in keys]
        terms = [score_terms([pairs[key] for key in keys]) for pairs in (pairs_a, pairs_b)]
        differences = compare(terms[0], terms[1], images, resamples, seed)
        comparisons.append(Comparison(split, resolution, len(keys), len(set(images)), differences))
    return comparisons


def _read_pairs(path: Path) -> dict[tuple[str, str], dict[_Key, dict[str, Any]]]:
    """Pairs by their key, for each split and resolution."""
    groups: dict[tuple[str, str], dict[_Key, dict[str, Any]]] = {}
    with path.open('rb') as lines:
        for number, line in enumerate(lines, start=1):
            where = f'{path}, line {number}'
            try:
                entry = json.loads(line)
                pair = {name: entry[name] for name in _FIELDS}
                wrong = [name for name, kind in _FIELDS.items() if type(pair[name]) is not kind]
                pair['size'] = tuple(pair.pop('mask')['size']) if not wrong else None
            except KeyError as error:
                raise DataError(
                    f'{where}: field {error} is missing; write it with tools/test.py --out of this version'
                ) from error
            except (ValueError, TypeError, RecursionError) as error:
                raise DataError(f'{where}: not a pair ({error}); write it with tools/test.py --out again') from error
            if wrong or not 0 <= pair['intersection'] <= pair['predicted'] <= pair['union']:
                name = wrong[0] if wrong else 'intersection'
                raise DataError(f'{where}: field {name} is {pair[name]!r}; write it with tools/test.py --out again')
            pairs = groups.setdefault((pair['split'], pair['resolution']), {})
            key = (pair['split'], pair['ref_id'], pair['sent_id'])
            if key in pairs:
                raise DataError(f'{where}: {_name(key)} is there twice; give the file of one model')
            pairs[key] = pair
    if not groups:
        raise DataError(f'{path}: holds no pairs; write it with tools/test.py --out')
    return groups


def _check_same(
    pairs_a: dict[_Key, dict[str, Any]], pairs_b: dict[_Key, dict[str, Any]], first: str | Path, second: str | Path
) -> None:
    """Raise DataError unless both hold the same pairs with the same ground truths at the same size."""
    for mine, others, path, other_path in ((pairs_a, pairs_b, first, second), (pairs_b, pairs_a, second, first)):
        lacking = [key for key in mine if key not in others]
        if lacking:
            raise DataError(
                f'{other_path}: lacks {len(lacking)} of the {len(mine)} pairs of {path}, the first is '
                f'{_name(lacking[0])}: score both on the same data'
            )
    for key, pair in pairs_a.items():
        other = pairs_b[key]
        if pair['size'] != other['size']:
            sizes = [' x '.join(map(str, each['size'])) for each in (pair, other)]
            raise DataError(
                f'{_name(key)}: scored at {sizes[0]} in {first}, at {sizes[1]} in {second}: networks of different '
                'input sizes compare with --resolution original'
            )
        if _truth(pair) != _truth(other):
            raise DataError(f'{_name(key)}: {first} and {second} have different ground truths: score on the same data')


def _truth(pair: dict[str, Any]) -> tuple[Any, ...]:
    """Fields that agree if the ground truths do: number of its pixels, file name of the image."""
    return pair['union'] - pair['predicted'] + pair['intersection'], pair['no_target'], Path(pair['image']).name


def _name(key: _Key) -> str:
    return f'ref {key[1]}, sent_id {key[2]} of {key[0]}'
