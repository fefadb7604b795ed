"""The configs that released checkpoints belong to, and small networks of theirs."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from mmmagnet.model_converters import CONVERTERS
from mmmagnet.registry import MODELS
from mmmagnet.utils.config import load_config

ROOT = Path(__file__).parents[2]
SIZES = {
    'magnet': 'official_parity/arch_small.json',
    'lavt': 'official_parity/arch_lavt_small.json',
    'rela': 'official_parity_rela/arch_small.json',
    'caris': 'official_parity_caris/arch_caris_small.json',
}


@pytest.fixture
def published():
    """Give the `model` of the config of a kind."""
    configs = {converter.kind: converter.config for converter in CONVERTERS}
    return lambda kind: load_config(str(ROOT / 'configs' / configs[kind])).model.to_dict()


@pytest.fixture
def own(published):
    """Make the state dict, without values, of our network of a kind at the sizes of the parity cases."""
    converters = {converter.kind: converter for converter in CONVERTERS}

    def make(kind):
        sizes = json.loads((ROOT / 'tests' / 'data' / SIZES[kind]).read_text())
        init_default_scope('mmseg')
        with torch.device('meta'):
            return MODELS.build(converters[kind].resize(published(kind), sizes)).state_dict()

    return make
