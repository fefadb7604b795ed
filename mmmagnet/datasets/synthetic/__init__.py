"""Synthetic referring sets: generated images and expressions in the layout of a prepared dataset folder.

Each image shows coloured shapes before a textured background; each expression identifies exactly one of them while
another shares an attribute with it. ``level`` says what the levels consist of, ``grammar`` what expressions mean,
``generate`` makes the files. Splits:

- train, val: objects of all (colour, shape) pairs but the held-out ones (``HELD_OUT``);
- testA: like val but crowded, always with the greatest number of objects;
- testB: every referred object is of a held-out pair, which no object of the other splits is.

The images depend on seed, split and index alone.
"""

from .generate import Sample, SyntheticSet, default_set, generate_set, make_sample
from .level import EASY, FULL, HELD_OUT, LEVELS, SPLITS, Level
from .vocabulary import TOKENIZER_FOLDER, write_tokenizer

__all__ = [
    'EASY',
    'FULL',
    'HELD_OUT',
    'LEVELS',
    'SPLITS',
    'TOKENIZER_FOLDER',
    'Level',
    'Sample',
    'SyntheticSet',
    'default_set',
    'generate_set',
    'make_sample',
    'write_tokenizer',
]
