"""Sizes that others know are filled in where a constructor asks for them."""

import pytest
from mmengine.registry import init_default_scope
from torch import nn

from mmmagnet.models.builder import build_part
from mmmagnet.registry import MODELS

KNOWN = dict(in_channels=(4, 8, 16), text_channels=5)


class Base(nn.Module):
    def __init__(self, in_channels, other=1, in_index=-1):
        super().__init__()
        self.in_channels, self.other, self.in_index = in_channels, other, in_index


@MODELS.register_module(force=True)
class HandsOn(Base):
    def __init__(self, text_channels, **rest):
        super().__init__(**rest)
        self.text_channels = text_channels


@MODELS.register_module(force=True)
class AsksForLess(HandsOn):
    def __init__(self, other=3):
        super().__init__(text_channels=7, in_channels=2, other=other)


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (dict(type='HandsOn'), dict(in_channels=16, text_channels=5, other=1)),
        (dict(type='HandsOn', in_index=0), dict(in_channels=4)),
        (dict(type='HandsOn', in_index=(0, 2)), dict(in_channels=[4, 16])),
        (dict(type='HandsOn', in_channels=16, text_channels=5), dict(in_channels=16, text_channels=5)),
        (dict(type='HandsOn', in_index=[0, 2], in_channels=(4, 16)), dict(in_channels=(4, 16))),
        (dict(type='AsksForLess', other=4), dict(in_channels=2, text_channels=7, other=4)),
        (dict(type=HandsOn), dict(text_channels=5)),
    ],
)
def test_build_part(config, expected):
    init_default_scope('mmseg')
    part = build_part(config, KNOWN)
    assert {name: getattr(part, name) for name in expected} == expected


@pytest.mark.parametrize(
    ('head', 'channels'),
    [
        (dict(type='FCNHead', num_classes=2), 16),
        (dict(type='UPerHead', num_classes=2, in_index=(0, 1, 2)), [4, 8, 16]),
        (dict(type='SegformerHead', num_classes=2, in_index=[0, 1, 2]), [4, 8, 16]),
    ],
)
def test_heads_of_mmseg(head, channels):
    init_default_scope('mmseg')
    assert build_part({**head, 'channels': 8, 'out_channels': 2}, KNOWN).in_channels == channels


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(text_channels=8), 'HandsOn: text_channels=8, but what it reads has 5; leave text_channels out'),
        (dict(in_channels=9), 'in_channels=9, but what it reads has 16'),
        (dict(in_index=3), 'in_index=3, but there are 3 maps'),
        (dict(in_index=(0, -4)), 'in_index=.*, but there are 3 maps'),
    ],
)
def test_what_disagrees(config, message):
    with pytest.raises(ValueError, match=message):
        build_part(dict(type='HandsOn', **config), KNOWN)


def test_unknown():
    with pytest.raises(KeyError, match='NoPart is not registered: name its package in custom_imports'):
        build_part(dict(type='NoPart'), KNOWN)
