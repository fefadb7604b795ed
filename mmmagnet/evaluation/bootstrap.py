"""How far scores would move with other images: confidence intervals, and what is a difference between two models.

The unit that is drawn is the cluster, in the metric the image. The pairs of one image share its objects and their
masks, so they rise and fall together; drawing them one by one would pass them off as independent and give intervals
that are too narrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .score_terms import ScoreTerms, ratio

_CHUNK = 2**20  # numbers drawn at a time: bounds the memory at any number of resamples


@dataclass(frozen=True)
class Difference:
    """A score of two models on the same pairs, in percent.

    Attributes:
        name: Of the score.
        first: Of model A.
        second: Of model B.
        difference: ``second - first``.
        low: Lower end of the difference's 95 % interval.
        high: Its upper end.
        p_value: Of the permutation test: how often models that do not differ would differ at least as much.
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
        """The difference in one sentence."""
        if self.difference == 0:
            return f'A and B are equal, interval {self.low:.2f} to {self.high:.2f}: no difference'
        way = 'higher' if self.difference > 0 else 'lower'
        result = 'significant at 5 %' if self.significant else 'not significant at 5 %'
        return (
            f'B is {way} by {abs(self.difference):.2f}, interval {self.low:.2f} to {self.high:.2f}, '
            f'p = {self.p_value:.4f}: {result}'
        )


def confidence_intervals(
    terms: ScoreTerms, clusters: Sequence, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of all scores.

    Args:
        terms: Of n pairs.
        clusters: n labels; pairs with the same one are drawn together.
        resamples: Number of resamples.
        level: Share of the resampled scores inside the interval.
        seed: Equal seeds give equal intervals.

    Returns:
        Name -> lower and upper end, in percent.
    """
    sums = _cluster_sums([terms], clusters)
    observed = np.nan_to_num(ratio(*np.split(sums.sum(0), 2)))
    totals = _resampled(sums, resamples, seed)
    drawn = ratio(*np.split(totals, 2, axis=1))
    low, high = _interval(drawn, observed, level)
    return {name: (float(low[k]), float(high[k])) for k, name in enumerate(terms.names)}


def compare(
    first: ScoreTerms, second: ScoreTerms, clusters: Sequence, resamples: int = 10000, seed: int = 0
) -> list[Difference]:
    """Compare two models on the same pairs.

    The interval is of a paired bootstrap: both models are scored on the same resamples. The p-value is of a paired
    permutation test, two-sided: were the models alike, their results on an image could as well be exchanged, and this
    is done at random for each image.

    Args:
        first: Terms of model A.
        second: Terms of model B, of the same n pairs in the same order, with the same names.
        clusters: n labels; pairs with the same one are drawn and exchanged together.
        resamples: Number of resamples, and of permutations.
        seed: Equal seeds give equal results.

    Returns:
        One difference for each score.

    Raises:
        ValueError: If the terms are not of the same scores and number of pairs.
    """
    if first.names != second.names or first.numerators.shape != second.numerators.shape:
        raise ValueError(f'not the same scores of the same pairs: {first.names} and {second.names}')
    sums = _cluster_sums([first, second], clusters)
    scores = np.nan_to_num(_scores_of_both(sums.sum(0)))
    observed = scores[1] - scores[0]
    drawn = _scores_of_both(_resampled(sums, resamples, seed))
    low, high = _interval(drawn[1] - drawn[0], observed, level=0.95)
    exchanged = np.nan_to_num(_scores_of_both(_exchanged(sums, resamples, seed)))
    as_far = np.abs(exchanged[1] - exchanged[0]) >= np.abs(observed) - 1e-9
    p_values = (1 + as_far.sum(0)) / (1 + resamples)
    return [
        Difference(name, *map(float, numbers))
        for name, *numbers in zip(first.names, *scores, observed, low, high, p_values, strict=True)
    ]


def _cluster_sums(models: list[ScoreTerms], clusters: Sequence) -> np.ndarray:
    """(C, M * 2K): for each cluster and model the sums of the numerators, then of the denominators."""
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    rows = np.concatenate([part for terms in models for part in (terms.numerators, terms.denominators)])
    return np.stack([np.bincount(index, row) for row in rows], axis=1)


def _scores_of_both(totals: np.ndarray) -> np.ndarray:
    """(..., 4K) sums of two models -> (2, ..., K) scores."""
    numerators_a, denominators_a, numerators_b, denominators_b = np.split(totals, 4, axis=-1)
    return np.stack([ratio(numerators_a, denominators_a), ratio(numerators_b, denominators_b)])


def _resampled(sums: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(C, M) -> (resamples, M): totals of C clusters drawn with replacement."""
    rng, count = np.random.default_rng(seed), len(sums)
    totals = []
    for rows in _chunks(resamples, count):
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        totals.append(times @ sums)
    return np.concatenate(totals)


def _exchanged(sums: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(C, 2M) -> (permutations, 2M): totals after the two models were exchanged on a random half of the clusters."""
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


def _interval(drawn: np.ndarray, observed: np.ndarray, level: float) -> np.ndarray:
    """(2, K) percentiles of (R, K); a resample that holds nothing to score repeats the observed score."""
    drawn = np.where(np.isnan(drawn), observed, drawn)
    return np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
