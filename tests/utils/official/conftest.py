"""Files as the authors release them, filled by the parity cases' rule."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from mmmagnet.utils.official.parity import make_entries

DATA = Path(__file__).parents[2] / 'data' / 'official_parity'
MANIFESTS = {'magnet': 'manifest_small.json', 'lavt': 'manifest_lavt_small.json'}


def manifest_of(kind):
    return json.loads((DATA / MANIFESTS[kind]).read_text())


@pytest.fixture
def released():
    """Make the content of a released file of a kind, whole with integer buffers, options and an optimizer's state."""

    def make(kind, apart=False, prefix=''):
        manifest = manifest_of(kind)
        entries = make_entries(manifest)
        for name, shape in manifest.items():
            entries.setdefault(name, torch.zeros(shape, dtype=torch.int64))
        content = {
            'model': {prefix + name: value for name, value in entries.items()},
            'optimizer': {'state': {0: {'step': 3, 'exp_avg': torch.zeros(2)}}, 'param_groups': [{'lr': 5e-5}]},
            'lr_scheduler': {'lr_lambdas': [None], 'base_lrs': [5e-5]},
            'epoch': 39,
            'args': argparse.Namespace(dataset='refcoco', mha='', window12=True, lr=5e-5, device=None),
        }
        if apart:  # LAVT with a text tower beside the model
            text = f'{prefix}text_encoder.'
            content['bert_model'] = {
                prefix + name.removeprefix(text): content['model'].pop(name)
                for name in list(content['model'])
                if name.startswith(text)
            }
            content['bert_model'][f'{prefix}pooler.dense.weight'] = torch.zeros(3, 3)
            content['bert_model'][f'{prefix}embeddings.position_ids'] = torch.arange(512)[None]
        return content

    return make
