"""What people type is checked before a network reads it."""

from __future__ import annotations

import warnings

import pytest

from mmmagnet.datasets.transforms.check_expression import check_expression
from mmmagnet.datasets.transforms.expression import TokenizeExpression
from mmmagnet.utils.errors import DataError

STEP = TokenizeExpression('package://mmmagnet/datasets/synthetic/tokenizer')


@pytest.mark.parametrize(
    ('expression', 'warning'),
    [
        ('the red circle', None),
        ('\n the red\ncircle\t', None),
        ('The RED circle!', None),
        ('the red zebra of kant', 'words that the model does not know: zebra kant'),
        ('the red \U0001f408', 'words that the model does not know: \U0001f408'),
        ('העיגול האדום', 'does not know: העיגול האדום'),
        ('the red circle ' * 600, 'has 1802 tokens and is truncated to 20'),
    ],
)
def test_taken(expression, warning):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        check_expression(expression, STEP, 'a.png: expression 1 of 1')
    told = [str(each.message) for each in caught]
    assert len(told) == (warning is not None)
    assert warning is None or (told[0].startswith('a.png: expression 1 of 1 has ') and warning in told[0])


@pytest.mark.parametrize(
    ('expression', 'message'),
    [
        ('', 'is empty'),
        (' \n\t', 'is empty'),
        ('\u200b\x00', 'is empty'),
        ('red ' * 10_000, 'has 40000 characters: give 10000 or fewer'),
        ('red \ud800', 'is no valid text'),
        (5, 'is of type int: give text'),
        (None, 'is of type NoneType: give text'),
        (b'red', 'is of type bytes: give text'),
    ],
)
def test_refused(expression, message):
    with pytest.raises(DataError, match=f'^a.png: expression 1 of 1 {message}'):
        check_expression(expression, STEP, 'a.png: expression 1 of 1')
