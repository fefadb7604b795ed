"""Left and right in an expression, swapped as in a mirrored image."""

from __future__ import annotations

import re

# a word that says a side: left, Right, leftmost, right-hand, lefties, topleft; not bright, upright, leftover, rightly
_SIDE = re.compile(
    r"""
    (?<![a-z0-9])
    (?:top|bottom|upper|lower|far|front|back|mid|middle|center|centre|outer|inner)?
    (left|right)
    (?:most|est|er|ish|y|ie|ies|hand|handed|handside|side|sided|ward|wards)?
    (?![a-z0-9])
    """,
    re.IGNORECASE | re.VERBOSE,
)

# what may stand before a side that is followed by a place: "the one on the left behind the couch"
_ARTICLE = r"""
    the|an?|on|to|at|in|from|of|our|your|his|her|my|their|its|\w+'s|far|most|very|slightly|upper|lower|top|bottom|front|
    back|middle|center|centre|mid|first|second|third|fourth|fifth|\d(?:st|nd|rd|th)
"""
_PLACE = r"""
    above|across|after|against|along|alongside|around|at|away|before|behind|below|beneath|besides?|between|beyond|by|
    close|down|here|in|inside|into|near|nearest|next|now|off|on|onto|out|outside|over|past|there|through|under|
    underneath|up|where
"""
_SIDE_BEFORE_PLACE = re.compile(
    rf'(?P<sure>\b(?:{_ARTICLE})[\s-]+)?\b(?:left|right)[\s-]+(?:{_PLACE})\b', re.IGNORECASE | re.VERBOSE
)

# where no rule tells a side from another meaning, or where a mirrored image shows something else than its words say
_DOUBTFUL = re.compile(
    r"""
    (?<![a-z0-9])(?:
        # that is right, the one left, all right then; but: is left of, one right side
        (?:all|that'?s|what'?s|who|has|have|had|is|are|was|were|be|been|just|only|ones?|pieces?|slices?)
            [\s-]+(?:left|right)(?![\s-]*(?:of|to|side|most|hand)|[a-z])
        | left[\s-]+overs? (?![\s-]+(?:there|here|by|in|on|at|near))
        | left[\s-]+(?:alone|open|untouched|uneaten|unattended)
        | right[\s-]+(?:side[\s-]+up|way|angled?|sized?|amount|kind|place|time)
        | right\s*\?
        # abbreviations and misspellings, each of which may be something else
        | l | r | lt | rt | lft | lef | letf | lfet | leff | leftt | rgt | rht | rght | rigt | rigth | riht | rihgt
        | righ | rite | lhs | rhs
        # writing, clocks and maps
        | o'?\s?clock | (?:anti|counter)?-?clockwise | (?:north|south)?-?(?:east|west)
        | numbers? | letters? | words? | says? | saying | written | \d{2,}
    )(?![a-z0-9])
    | \#\s?\d
    """,
    re.IGNORECASE | re.VERBOSE,
)


def swap_left_right(expression: str) -> str | None:
    """Expression of the mirrored image, or None where no rule tells it.

    Words that say a side are swapped and keep their case. The rules give up where `left` or `right` may mean something
    else ("right next to", "the one left", "all right"), at abbreviations and misspellings ("l", "rt", "rigth"), and at
    writing, clocks and maps in the image ("number 12", "3 o'clock"). They do not notice `left` as a verb in other forms
    ("cake left for the guests"), other names of writing ("the stop sign", "player 7"), or other languages.

    Example:
        >>> swap_left_right('Left man, second from the right')
        'Right man, second from the left'
    """
    if _DOUBTFUL.search(expression) or any(not match['sure'] for match in _SIDE_BEFORE_PLACE.finditer(expression)):
        return None
    return _SIDE.sub(_other_side, expression)


def _other_side(match: re.Match[str]) -> str:
    side, whole = match[1], match[0]
    other = 'right' if side.lower() == 'left' else 'left'
    if side.isupper():
        other = other.upper()
    elif side[0].isupper():
        other = other.capitalize()
    start = match.start(1) - match.start()
    return whole[:start] + other + whole[start + len(side) :]
