"""The scoring protocol of each method, as its config states it."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmmagnet.evaluation import describe_protocol, scoring_protocol

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize(
    ('name', 'expected'),
    {
        'magnet_swin_b.py': 'image 480 x 480, squash; text raw, 20 tokens at most; overlapping outlines: union',
        'magnet_swin_b_official.py': 'image 480 x 480, squash; text raw, 20 tokens at most; overlapping outlines: odd',
        'magnet_swin_b_official_all.py': 'image 448 x 448, squash; text raw, 20 tokens at most; '
        'overlapping outlines: odd',
        'lavt_swin_b_official.py': 'image 480 x 480, squash; text raw, 20 tokens at most; overlapping outlines: odd',
        'rela/rela_swin_b_grefcoco.py': 'image 480 x 480, squash; text raw, 20 tokens at most; '
        'overlapping outlines: union',
        'caris/caris_swin_b_refcoco.py': 'image 448 x 448, squash; text sent, 20 tokens at most; '
        'overlapping outlines: union',
        'cris/cris_r50_refcoco.py': 'image 416 x 416, letterbox; text sent, 17 tokens at most; '
        'overlapping outlines: union',
        'detris/detris_vitb_refcoco.py': 'image 448 x 448, letterbox; text sent, 17 tokens at most; '
        'overlapping outlines: union',
    }.items(),
)
def test_protocol_of_a_method(name, expected):
    config = Config.fromfile(CONFIGS / name)
    assert describe_protocol(scoring_protocol(config)) == expected
    described = describe_protocol(scoring_protocol(config, threshold=0.35))
    assert described == f'{expected}; threshold 0.35'
