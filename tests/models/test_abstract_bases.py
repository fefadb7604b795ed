"""A part of one's own that lacks a method is refused when it is built, by name."""

import pytest

from mmmagnet.models.aux_heads import AuxiliaryHead
from mmmagnet.models.decode_heads import ReferringDecodeHead
from mmmagnet.models.necks import FusionNeck


@pytest.mark.parametrize(
    ('base', 'arguments', 'methods'),
    [
        (AuxiliaryHead, {}, ['loss']),
        (FusionNeck, {'out_channels': (4,)}, ['fuse']),
        (ReferringDecodeHead, {'in_channels': (4,), 'feat_channels': 2}, ['forward', 'loss_by_feat']),
    ],
)
def test_missing_method(base, arguments, methods):
    given = {method: lambda self, *_: None for method in methods}
    type('Whole', (base,), given)(**arguments)
    for method in methods:
        part = type('Part', (base,), {name: value for name, value in given.items() if name != method})
        with pytest.raises(TypeError, match=method):
            part(**arguments)
