"""Which group a pair is in, and what its group scores."""

import pytest

from mmmagnet.evaluation import breakdown, score_terms
from mmmagnet.evaluation.breakdown import groups_of


@pytest.mark.parametrize(
    ('expression', 'length', 'placed'),
    [
        ('left', '1-2 words', True),
        ('the bright one', '3 words', False),
        ('man upright on copyright sign', '4-5 words', False),
        ('Left-most guy', '1-2 words', True),
        ('guy, on the far RIGHT.', '4-5 words', True),
        ('the red circle that is striped', '6-7 words', False),
        ('a man in a red shirt behind the fence', '8-10 words', True),
        ('a ' * 11, '11 words and more', False),
        ('', '1-2 words', False),
    ],
)
def test_groups_of_expressions(expression, length, placed):
    expected = {'length': length, 'position': 'said' if placed else 'not said'}
    assert groups_of({'expression': expression}) == expected


@pytest.mark.parametrize(('distractors', 'label'), [(0, '0'), (2, '2'), (3, '3 and more'), (14, '3 and more')])
def test_other_groups(distractors, label):
    assert groups_of({'distractors': distractors, 'family': 'size'}) == {'distractors': label, 'family': 'size'}
    assert groups_of({}) == {}


def test_scores_of_groups():
    pairs = [
        {
            'intersection': 0 if index % 5 == 0 else 10 + index,
            'union': 60,
            'predicted': 60,
            'no_target': index % 5 == 0,
            'expression': 'word ' * (index % 12 + 1),
            **({'distractors': index % 4} if index % 2 else {}),
        }
        for index in range(40)
    ]
    found = breakdown(pairs)
    assert {name: list(groups) for name, groups in found.items()} == {
        'length': ['1-2 words', '3 words', '4-5 words', '6-7 words', '8-10 words', '11 words and more'],
        'position': ['not said'],
        'distractors': ['1', '3 and more'],
    }
    assert found['position']['not said'] == {**score_terms(pairs).scores(), 'pairs': 40}
    three = [pair for pair in pairs if pair.get('distractors') == 3]
    assert found['distractors']['3 and more'] == {**score_terms(three).scores(), 'pairs': len(three)}
    assert sum(scores['pairs'] for scores in found['length'].values()) == 40
