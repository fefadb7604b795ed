"""Published counts of sets, to compare a prepared folder with."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """Published counts of a split; None where none is known.

    Attributes:
        refs: Number of refs.
        sentences: Number of expressions.
        images: Number of images.
        nothing: Number of expressions that mean nothing.
        one: Number of expressions that mean one object.
        several: Number of expressions that mean several.
    """

    refs: int | None = None
    sentences: int | None = None
    images: int | None = None
    nothing: int | None = None
    one: int | None = None
    several: int | None = None


ALL = 'all splits'
PUBLISHED: dict[tuple[str, str], dict[str, Counts]] = {
    ('refcoco', 'unc'): {
        'train': Counts(42404, 120624, 16994),
        'val': Counts(3811, 10834, 1500),
        'testA': Counts(1975, 5657, 750),
        'testB': Counts(1810, 5095, 750),
    },
    ('refcoco', 'google'): {
        'train': Counts(40000, None, 19213),
        'val': Counts(5000, None, 4559),
        'test': Counts(5000, None, 4527),
    },
    ('refcoco+', 'unc'): {
        'train': Counts(42278, 120191, 16992),
        'val': Counts(3805, 10758, 1500),
        'testA': Counts(1975, 5726, 750),
        'testB': Counts(1798, 4889, 750),
    },
    ('refcocog', 'umd'): {
        'train': Counts(42226, 80512, 21899),
        'val': Counts(2573, 4896, 1300),
        'test': Counts(5023, 9602, 2600),
    },
    ('refcocog', 'google'): {
        'train': Counts(44822, None, 24698),
        'val': Counts(5000, None, 4650),
        ALL: Counts(None, 104560),
    },
    ('grefcoco', 'unc'): {
        'train': Counts(),
        'val': Counts(None, 14229, None, 8905, 0, 5324),
        'testA': Counts(None, 19200, None, 4448, 5917, 8835),
        'testB': Counts(None, 16063, None, 4673, 5646, 5744),
    },
    ('rrsisd', 'unc'): {'train': Counts(), 'val': Counts(), 'test': Counts(), ALL: Counts(17402, 17402)},
    ('refcoco-m', 'val'): {'val': Counts(2080, 5598, 1190)},
}
"""Source (set, partition) -> split -> counts. `ALL` stands for the splits together."""

SHARES_IMAGES = (('refcoco', 'google'), ('refcocog', 'google'))
"""Their partitions are by object, so that splits share images as published."""
