"""Left and right in expressions: swapped, kept, or told by no rule."""

import pytest

from mmmagnet.datasets.transforms.left_right import swap_left_right

SWAPPED = {
    'left': 'right',
    'the left-most of the right group': 'the right-most of the left group',
    'leftmost zebra': 'rightmost zebra',
    'right most chair': 'left most chair',
    'second from the rightmost': 'second from the leftmost',
    'third from left to right': 'third from right to left',
    'Left man, not the RIGHT one.': 'Right man, not the LEFT one.',
    'on the right-hand side': 'on the left-hand side',
    'righthand guy': 'lefthand guy',
    'a left-handed batter': 'a right-handed batter',
    'the lefty': 'the righty',
    'bottomleft corner': 'bottomright corner',
    'upper-right/far left': 'upper-left/far right',
    "the man's left hand": "the man's right hand",
    'girl facing leftward, rightish': 'girl facing rightward, leftish',
    'right, blue': 'left, blue',
    'the one that is left of the tree': 'the one that is right of the tree',
    'just right of the lamp': 'just left of the lamp',
    'the chair is left-most': 'the chair is right-most',
    'woman on right next to the door': 'woman on left next to the door',
    'the right behind the couch': 'the left behind the couch',
    'back left by the wall': 'back right by the wall',
    'on the left over there': 'on the right over there',
    '2nd from right in front': '2nd from left in front',
    'right person with hat': 'left person with hat',
}
ALONE = [
    'the bright umbrella',
    'person standing upright',
    'the outright winner',
    'a leftover sandwich',
    'rightly dressed woman',
    'copyright sign',
    'cleft rock',
    'alright guy',
    'the playwright',
    'red car',
    'in the middle',
    'bus at 3',
    '',
]
DOUBTFUL = [
    'all right then',
    "that's right",
    'the cat right behind the couch',
    'man right next to the girl',
    'right there',
    'Right in the middle',
    'dog left by the door',
    'left over pizza',
    'the left-overs',
    'food left on the plate',
    'the only one left',
    'the last piece left',
    'the bag left behind',
    'plate left untouched',
    'the one in red, right?',
    'cup right side up',
    'the right angle of the table',
    'guy on l',
    'R',
    'L shaped couch',
    'far rt',
    'lft man',
    'rigth car',
    'lt blue shirt',
    "person at 3 o'clock",
    'player number 7',
    '#12',
    'jersey 42',
    'bus that says left',
    'the west wall',
]


@pytest.mark.parametrize('expression', SWAPPED)
def test_swapped_and_back(expression):
    assert swap_left_right(expression) == SWAPPED[expression]
    assert swap_left_right(SWAPPED[expression]) == expression


@pytest.mark.parametrize('expression', ALONE)
def test_other_words_are_kept(expression):
    assert swap_left_right(expression) == expression


@pytest.mark.parametrize('expression', DOUBTFUL)
def test_what_no_rule_tells(expression):
    assert swap_left_right(expression) is None


def test_limits_that_the_docstring_names():
    assert swap_left_right('cake left for the guests') == 'cake right for the guests'
    assert swap_left_right('the stop sign') == 'the stop sign'
