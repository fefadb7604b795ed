"""Published counts."""

import pytest

from mmmagnet.datasets.verification.published import PUBLISHED


@pytest.mark.parametrize(
    ('source', 'split', 'counts'),
    [
        (('refcoco', 'unc'), 'testA', (1975, 5657, 750)),
        (('refcoco', 'google'), 'test', (5000, None, 4527)),
        (('refcoco+', 'unc'), 'train', (42278, 120191, 16992)),
        (('refcocog', 'umd'), 'test', (5023, 9602, 2600)),
        (('grefcoco', 'unc'), 'testB', (None, 16063, None)),
        (('refcoco-m', 'val'), 'val', (2080, 5598, 1190)),
    ],
)
def test_known_sets(source, split, counts):
    assert PUBLISHED[source][split][:3] == counts


def test_published_counts_agree_with_each_other():
    splits = PUBLISHED['refcoco', 'unc'].values()
    assert sum(counts.sentences for counts in splits) == 142210
    for split, counts in PUBLISHED['grefcoco', 'unc'].items():
        if split != 'train':
            assert counts.nothing + counts.one + counts.several == counts.sentences
