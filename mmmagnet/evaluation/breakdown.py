"""Scores by group of pairs: length, position words, distractors of the same class, and family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .score_terms import score_terms

_WORDS = """
    left leftmost lefthand right rightmost righthand top topmost upper uppermost bottom bottommost lower lowermost
    above below under over beneath middle mid center centre central corner edge side front back behind foreground
    background near nearest nearer close closest closer far farthest furthest first second third fourth last next
    beside between end lft rght rt btm
"""
POSITION_WORDS = frozenset(_WORDS.split())
"""Words that say where an object is."""

_LENGTHS = ((2, '1-2 words'), (3, '3 words'), (5, '4-5 words'), (7, '6-7 words'), (10, '8-10 words'))
_LONGER = '11 words and more'
_MANY = 3  # distractors


def groups_of(pair: Mapping[str, Any]) -> dict[str, str]:
    """Group of a pair in each breakdown.

    Args:
        pair: Mapping with any of ``expression``, ``distractors`` (number of other annotated objects of the same class
            in the image) and ``family`` (of the synthetic sets).

    Returns:
        Name of a breakdown -> name of the group.
    """
    groups = {}
    if 'expression' in pair:
        words = pair['expression'].split()
        groups['length'] = next((label for most, label in _LENGTHS if len(words) <= most), _LONGER)
        placed = not POSITION_WORDS.isdisjoint(re.findall(r'[a-z]+', pair['expression'].lower()))
        groups['position'] = 'said' if placed else 'not said'
    if 'distractors' in pair:
        count = int(pair['distractors'])
        groups['distractors'] = f'{count}' if count < _MANY else f'{_MANY} and more'
    if 'family' in pair:
        groups['family'] = str(pair['family'])
    return groups


def breakdown(pairs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of each group.

    Args:
        pairs: Mappings with the fields that `score_terms` and `groups_of` read.

    Returns:
        Name of a breakdown -> name of a group that occurs -> scores in percent, and the number of ``pairs``.
    """
    members: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for pair in pairs:
        for name, label in groups_of(pair).items():
            members.setdefault(name, {}).setdefault(label, []).append(pair)
    return {
        name: {
            label: {**score_terms(groups[label]).scores(), 'pairs': len(groups[label])}
            for label in sorted(groups, key=_rank)
        }
        for name, groups in members.items()
    }


def _rank(label: str) -> tuple[int, str]:
    """Sort key: groups that begin with a number by that number, the others by name."""
    number = re.match(r'\d+', label)
    return (int(number[0]) if number else -1, label)
