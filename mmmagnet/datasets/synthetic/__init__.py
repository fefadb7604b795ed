"""Synthetic referring sets: generated images and expressions, as a prepared folder.

Each image shows coloured shapes on a textured background. Each expression identifies exactly one of them, while another
one shares an attribute with it. ``level`` holds the levels of difficulty, ``grammar`` the meaning of expressions, and
``generate`` writes the files. Splits:

- train, val: objects of all (colour, shape) pairs except the held-out ones (``HELD_OUT``);
- testA: like val, always with the greatest number of objects;
- testB: every referred object has a held-out pair, which no object of the other splits has.

An image depends on seed, split and index alone.
"""

from .generate import Sample, SyntheticSet, default_set, generate_set, make_sample
from .level import EASY, FULL, HELD_OUT, LEVELS, SPLITS, Level

__all__ = [
    'EASY',
    'FULL',
    'HELD_OUT',
    'LEVELS',
    'SPLITS',
    'Level',
    'Sample',
    'SyntheticSet',
    'default_set',
    'generate_set',
    'make_sample',
]
