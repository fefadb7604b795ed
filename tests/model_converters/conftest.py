"""The configs that released checkpoints belong to."""

from pathlib import Path

import pytest

from mmmagnet.utils.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
PUBLISHED = {'magnet': 'magnet_swin_b_official.py', 'lavt': 'lavt_swin_b.py'}


@pytest.fixture
def published():
    """Give the `model` of the config of a kind."""
    return lambda kind: load_config(str(CONFIGS / PUBLISHED[kind])).model.to_dict()
