"""The examples in docstrings of the methods' parts run and print what they say."""

import doctest

import pytest
import torch

from mmmagnet.models.decode_heads import CARISHead, ReLAHead
from mmmagnet.models.necks import ImagePrompts
from mmmagnet.models.structures import Features


@pytest.mark.parametrize('part', [CARISHead, ReLAHead, ImagePrompts])
def test_example(part):
    given = {'torch': torch, 'Features': Features, part.__name__: part}
    (example,) = doctest.DocTestFinder(recurse=False).find(part, part.__name__, globs=given)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
