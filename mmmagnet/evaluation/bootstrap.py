"""Confidence intervals of scores, and significance of a difference between two models, by resampling images.

The resampled unit is a cluster of pairs, in the metric an image. The pairs of one image share objects and masks, so
they are not independent: resampling pairs one by one would give intervals that are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .score_terms import ScoreTerms, ratio

_CHUNK = 2**20  # random numbers at a time: bounds the memory at any number of resamples


@dataclass(frozen=True)
class Difference:
    """A score of two models on the same pairs, in percent.

    Example:
        >>> Difference('oIoU', 70.0, 71.2, 1.2, 0.3, 2.1, 0.011).significant
        True

    Attributes:
        name: Name of the score.
        first: Score of model A.
        second: Score of model B.
        difference: ``second - first``.
        low: Lower end of the difference's 95 % interval.
        high: Upper end of the interval.
        p_value: Probability that models which do not differ would differ at least as much (permutation test).
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether the difference is significant at 5 %."""
        return self.p_value < 0.05

    def verdict(self) -> str:
        """One line that says which model scores higher, and whether the difference is significant."""
        if self.difference == 0:
            return f'A and B are equal, interval {self.low:.2f} to {self.high:.2f}: no difference'
        way = 'higher' if self.difference > 0 else 'lower'
        result = 'significant at 5 %' if self.significant else 'not significant at 5 %'
        return (
            f'B is {way} by {abs(self.difference):.2f}, interval {self.low:.2f} to {self.high:.2f}, '
            f'p = {self.p_value:.4f}: {result}'
        )


def confidence_intervals(
    terms: ScoreTerms, clusters: Sequence, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap 95 % intervals of all scores.

    Args:
        terms: Terms of n pairs.
        clusters: n labels, such as image paths. Pairs with the same label are drawn together.
        resamples: Number of resamples.
        seed: Seed; equal seeds give equal intervals.

    Returns:
        Name of each score -> lower and upper end in percent.
    """
    sums = _cluster_sums([terms], clusters)
    observed = np.nan_to_num(ratio(*np.split(sums.sum(0), 2)))
    totals = _resampled(sums, resamples, seed)
    drawn = ratio(*np.split(totals, 2, axis=1))
    low, high = _interval(drawn, observed)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(terms.names)}


def compare(
    first: ScoreTerms, second: ScoreTerms, clusters: Sequence, resamples: int = 10000, seed: int = 0
) -> list[Difference]:
    """Compare two models on the same pairs.

    The interval comes from a paired bootstrap, which scores both models on the same resamples. The p-value comes from a
    two-sided paired permutation test, which exchanges the models' results at random on each image.

    Args:
        first: Terms of model A.
        second: Terms of model B, of the same n pairs in the same order, with the same names.
        clusters: n labels, such as image paths. Pairs with the same label are drawn and exchanged together.
        resamples: Number of resamples, and of permutations.
        seed: Seed; equal seeds give equal results.

    Returns:
        One difference for each score.

    Raises:
        ValueError: If the two terms differ in their scores or number of pairs.
    """
    if first.names != second.names or first.numerators.shape != second.numerators.shape:
        raise ValueError(f'not the same scores of the same pairs: {first.names} and {second.names}')
    sums = _cluster_sums([first, second], clusters)
    scores = np.nan_to_num(_scores_of_both(sums.sum(0)))
    observed = scores[1] - scores[0]
    drawn = _scores_of_both(_resampled(sums, resamples, seed))
    low, high = _interval(drawn[1] - drawn[0], observed)
    exchanged = np.nan_to_num(_scores_of_both(_exchanged(sums, resamples, seed)))
    as_far = np.abs(exchanged[1] - exchanged[0]) >= np.abs(observed) - 1e-9
    p_values = (1 + as_far.sum(0)) / (1 + resamples)
    return [
        Difference(name, *map(float, numbers))
        for name, *numbers in zip(first.names, *scores, observed, low, high, p_values, strict=True)
    ]


def _cluster_sums(models: list[ScoreTerms], clusters: Sequence) -> np.ndarray:
    """Sums over each cluster, (C, M * 2K): for each model its K numerators, then its K denominators."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    rows = np.concatenate([part for terms in models for part in (terms.numerators, terms.denominators)])
    return np.stack([np.bincount(index, row) for row in rows], axis=1)


def _scores_of_both(totals: np.ndarray) -> np.ndarray:
    """Scores of two models, (2, ..., K), from their sums (..., 4K)."""
    numerators_a, denominators_a, numerators_b, denominators_b = np.split(totals, 4, axis=-1)
    return np.stack([ratio(numerators_a, denominators_a), ratio(numerators_b, denominators_b)])


def _resampled(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Totals (resamples, M) of C clusters that are drawn with replacement from sums (C, M)."""
    rng, count = np.random.default_rng(seed), len(sums)
    totals = []
    for rows in _chunks(resamples, count):
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        totals.append(times @ sums)
    return np.concatenate(totals)


def _exchanged(sums: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Totals (permutations, 2M) of sums (C, 2M) whose two models are exchanged on a random half of the clusters."""
    rng, count = np.random.default_rng(seed), len(sums)
    first, second = np.split(sums, 2, axis=1)
    totals = []
    for rows in _chunks(permutations, count):
        change = rng.integers(2, size=(rows, count)).astype(np.float64) @ (second - first)
        totals.append(np.concatenate([first.sum(0) + change, second.sum(0) - change], axis=1))
    return np.concatenate(totals)


def _chunks(total: int, width: int) -> Iterator[int]:
    step = max(1, _CHUNK // width)
    for start in range(0, total, step):
        yield min(step, total - start)


def _interval(drawn: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """95 % interval (2, K) of scores (R, K). A resample without anything to score repeats the observed score."""
    drawn = np.where(np.isnan(drawn), observed, drawn)
    return np.quantile(drawn, [0.025, 0.975], axis=0)
