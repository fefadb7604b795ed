"""Intervals and p-values against loops that draw images one by one, and against what theory says."""

import time

import numpy as np
import pytest

from mmmagnet.evaluation import compare, confidence_intervals, score_terms

NAMES = ('oIoU', 'mIoU', 'P@0.5', 'P@0.6', 'P@0.7', 'P@0.8', 'P@0.9', 'gIoU', 'N-acc', 'T-acc')


def random_pairs(number, seed=0, quality=0.6, spread=0.2, cluster_spread=0.0, pairs_per_image=1, no_target=0.0):
    """Pairs whose IoU scatters around a quality, with a part that is common to the pairs of an image."""
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.normal(size=number // pairs_per_image + 1) * cluster_spread, pairs_per_image)[:number]
    iou = np.clip(quality + common + rng.normal(size=number) * spread, 0, 1)
    union = np.random.default_rng(5).integers(100, 2000, number)  # the same whatever the seed
    absent = np.random.default_rng(6).random(number) < no_target
    return [
        {
            'intersection': 0 if gone else int(share * pixels),
            'union': 0 if gone and share > 0.5 else int(pixels),
            'predicted': 0 if (gone and share > 0.5) or share == 0 else int(pixels),
            'no_target': bool(gone),
        }
        for share, pixels, gone in zip(iou, union, absent, strict=True)
    ]


def scores_of(pairs):
    return np.array(list(score_terms(pairs).scores().values()))


def drawn_by_hand(pairs, clusters, resamples, seed):
    """Scores of resamples put together from whole clusters."""
    rng = np.random.default_rng(seed)
    members = [[pair for pair, own in zip(pairs, clusters, strict=True) if own == name] for name in sorted({*clusters})]
    return np.array(
        [
            scores_of([pair for index in rng.integers(len(members), size=len(members)) for pair in members[index]])
            for _ in range(resamples)
        ]
    )


def test_intervals_against_drawing_by_hand():
    pairs, clusters = random_pairs(60, spread=0.4, no_target=0.3), [f'{index // 3}.jpg' for index in range(60)]
    terms = score_terms(pairs)
    assert terms.names == NAMES
    intervals = confidence_intervals(terms, clusters, resamples=200, seed=4)
    drawn = drawn_by_hand(pairs, clusters, 200, seed=4)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    np.testing.assert_allclose([intervals[name] for name in NAMES], np.stack([low, high], axis=1), rtol=1e-9)
    assert (low < high).all()
    assert confidence_intervals(terms, clusters, 200, seed=4) == intervals
    assert confidence_intervals(terms, clusters, 200, seed=5) != intervals


def test_interval_has_the_width_of_theory():
    """A mean of n independent values has a 95 % interval of +-1.96 sd / sqrt(n)."""
    pairs = random_pairs(4000, spread=0.1)
    values = [100 * pair['intersection'] / pair['union'] for pair in pairs]
    low, high = confidence_intervals(score_terms(pairs), range(4000))['mIoU']
    half = 1.96 * np.std(values) / np.sqrt(4000)
    assert (low, high) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=0.1 * half)


def test_pairs_of_an_image_are_not_independent():
    pairs = random_pairs(2000, spread=0.05, cluster_spread=0.15, pairs_per_image=10)
    terms = score_terms(pairs)
    width = {}
    for name, clusters in (('image', [index // 10 for index in range(2000)]), ('pair', range(2000))):
        low, high = confidence_intervals(terms, clusters, 400)['mIoU']
        width[name] = high - low
    assert width['image'] > 2 * width['pair']


@pytest.mark.parametrize(
    ('pairs', 'expected'),
    [
        (random_pairs(1), None),
        ([{'intersection': 0, 'union': 0, 'predicted': 0, 'no_target': True}] * 3, (0, 0)),
        # one in three resamples lacks the only pair without target, and has no N-acc
        ([*random_pairs(4), {'intersection': 0, 'union': 0, 'predicted': 0, 'no_target': True}], None),
    ],
    ids=['one pair', 'nothing but empty', 'resamples without no-target'],
)
def test_degenerate_sets(pairs, expected):
    terms = score_terms(pairs)
    intervals = confidence_intervals(terms, range(len(pairs)), 100)
    scores = terms.scores()
    assert all(intervals[name][0] <= scores[name] + 1e-9 <= intervals[name][1] + 2e-9 for name in scores)
    if expected is not None:
        assert intervals['oIoU'] == expected
    if 'N-acc' in scores:
        assert intervals['N-acc'] == (100, 100)
    assert all(each.p_value == 1 for each in compare(terms, terms, range(len(pairs)), 50))


def test_comparison_against_drawing_by_hand():
    """Both models are drawn alike, and exchanged image by image."""
    first, second = random_pairs(40, seed=1), random_pairs(40, seed=2, quality=0.65)
    clusters = [index // 2 for index in range(40)]
    differences = compare(score_terms(first), score_terms(second), clusters, resamples=300, seed=7)
    observed = scores_of(second) - scores_of(first)
    drawn = drawn_by_hand(second, clusters, 300, 7) - drawn_by_hand(first, clusters, 300, 7)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    rng, as_far = np.random.default_rng(7), np.ones(7)
    for _ in range(300):
        swap = np.repeat(rng.integers(2, size=20).astype(bool), 2)
        one = [b if swapped else a for a, b, swapped in zip(first, second, swap, strict=True)]
        other = [a if swapped else b for a, b, swapped in zip(first, second, swap, strict=True)]
        as_far += np.abs(scores_of(other) - scores_of(one)) >= np.abs(observed) - 1e-9
    for k, each in enumerate(differences):
        assert each.name == NAMES[k]
        assert (each.first, each.second) == pytest.approx((scores_of(first)[k], scores_of(second)[k]))
        expected = (observed[k], low[k], high[k], as_far[k] / 301)
        assert (each.difference, each.low, each.high, each.p_value) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ('better', 'words', 'significant'),
    [(0.03, 'B is higher by 2.9', True), (-0.03, 'B is lower by 2.9', True), (0, 'A and B are equal', False)],
)
def test_verdict(better, words, significant):
    """A shift of every pair alike is found although it is far smaller than the spread of the pairs."""
    first, second = random_pairs(300), random_pairs(300, quality=0.6 + better)
    difference = compare(score_terms(first), score_terms(second), range(300), 500)[1]
    assert difference.name == 'mIoU'
    assert difference.significant == significant
    assert difference.verdict().startswith(words)
    assert difference.verdict().endswith('significant at 5 %' if significant else 'no difference')
    assert difference.low <= difference.difference <= difference.high


def test_false_alarms_are_as_rare_as_stated():
    """Of models that do not differ, about 5 % are called different."""
    alarms = 0
    clusters = [index // 2 for index in range(80)]
    for seed in range(200):
        first, second = (random_pairs(80, seed=2 * seed + k, cluster_spread=0.2, pairs_per_image=2) for k in range(2))
        alarms += compare(score_terms(first), score_terms(second), clusters, 200)[1].significant
    assert 2 <= alarms <= 20  # 10 expected


def test_different_pairs():
    with pytest.raises(ValueError, match='not the same scores of the same pairs'):
        compare(score_terms(random_pairs(3)), score_terms(random_pairs(4)), range(3), 10)


def test_fast_at_full_size():
    """RefCOCO val: 10 834 pairs of 1500 images."""
    pairs = random_pairs(10834)
    terms = score_terms(pairs)
    start = time.process_time()
    confidence_intervals(terms, [index % 1500 for index in range(10834)])
    assert time.process_time() - start < 2
