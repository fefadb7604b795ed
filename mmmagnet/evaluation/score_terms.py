"""Every score as a ratio of two sums over pairs: the base of the metric, its intervals and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

THRESHOLDS = (5, 6, 7, 8, 9)  # tenths, so that IoU >= X is decided by whole numbers


@dataclass(frozen=True)
class ScoreTerms:
    """K scores of n pairs, each ``100 * sum(numerator) / sum(denominator)`` over any selection of the pairs.

    Example:
        >>> pair = dict(intersection=30, union=60, predicted=50, no_target=False)
        >>> score_terms([pair]).scores()['oIoU']
        50.0

    Attributes:
        names: K names.
        numerators: (K, n) float64. Sums of pixels are exact below 2^53.
        denominators: (K, n) float64.
    """

    names: tuple[str, ...]
    numerators: np.ndarray
    denominators: np.ndarray

    def scores(self) -> dict[str, float]:
        """Scores of all pairs by name, in percent; 0 where there is nothing to score."""
        values = np.nan_to_num(ratio(self.numerators.sum(1), self.denominators.sum(1)))
        return dict(zip(self.names, values.tolist(), strict=True))


def ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Percentages ``100 * numerators / denominators``, NaN where a denominator is 0."""
    empty = denominators == 0
    return np.where(empty, np.nan, 100 * numerators / np.where(empty, 1, denominators))


def score_terms(pairs: Sequence[Mapping[str, Any]]) -> ScoreTerms:
    """Terms of all scores of some pairs.

    With I, U and P the pixels of intersection, union and prediction of a pair::

        oIoU   sum(I) / sum(U)
        mIoU   mean of I / U, 0 where U = 0
        P@X    fraction of pairs with U > 0 and I / U >= X

    and if a pair without target is among them (gRefCOCO's definitions)::

        gIoU   mean of I / U; a pair without target counts 1 where P = 0, else 0
        N-acc  fraction of the pairs without target that have P = 0
        T-acc  fraction of the pairs with target that have P > 0, if there are any

    Args:
        pairs: n mappings with ``intersection``, ``union``, ``predicted`` (pixels) and ``no_target`` (bool).

    Returns:
        The terms, in the order above.
    """
    inter, union, predicted = (
        np.array([pair[name] for pair in pairs], np.int64) for name in ('intersection', 'union', 'predicted')
    )
    no_target = np.array([pair['no_target'] for pair in pairs], bool)
    iou = inter / np.maximum(union, 1)
    one = np.ones(len(pairs))
    terms: dict[str, tuple[np.ndarray, np.ndarray]] = {'oIoU': (inter, union), 'mIoU': (iou, one)}
    for tenths in THRESHOLDS:
        terms[f'P@{tenths / 10}'] = ((10 * inter >= tenths * union) & (union > 0), one)
    if no_target.any():
        silent = predicted == 0
        terms['gIoU'] = (np.where(no_target, silent, iou), one)
        terms['N-acc'] = (no_target & silent, no_target)
        if not no_target.all():
            terms['T-acc'] = (~no_target & ~silent, ~no_target)
    numerators, denominators = (np.array([term[side] for term in terms.values()], np.float64) for side in (0, 1))
    return ScoreTerms(tuple(terms), numerators, denominators)
