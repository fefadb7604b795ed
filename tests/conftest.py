"""What all tests share: one thread, and a network small enough to be trained in a test."""

import argparse
import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import mmmagnet  # noqa: F401
from mmmagnet.model_converters.filling import make_entries

torch.set_num_threads(1)

PARITY = Path(__file__).parent / 'data'
SLOW_FOLDERS = [Path(__file__).parent / name for name in ('integration', 'stress')]
MANIFESTS = {
    'magnet': 'official_parity/manifest_small.json',
    'lavt': 'official_parity/manifest_lavt_small.json',
    'rela': 'official_parity_rela/manifest_small.json',
    'caris': 'official_parity_caris/manifest_caris_small.json',
}

VOCABULARY = 40
SEPARATOR, CLASSIFY, MASK = 3, 2, 4

TINY = dict(
    type='ReferringSegmentor',
    backbone=dict(
        type='StagedSwin',
        embed_dims=32,
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        drop_path_rate=0.0,
    ),
    text_encoder=dict(
        type='StagedBert',
        config=dict(
            model_type='bert',
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=32,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        stage_ends=(1, 2, 3, 4),
        mask_token_id=MASK,
    ),
    neck=dict(type='CrossModalAlignmentModule', pool_sizes=(1, 2)),
    decode_head=dict(
        type='MagNetHead',
        feat_channels=32,
        num_groups=8,
        num_heads=4,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=64,
        decoder_layers=2,
        decoder_ffn=64,
    ),
    auxiliary_head=[
        dict(
            type='MaskGroundingHead',
            mask_prob=0.5,
            num_layers=1,
            num_heads=4,
            width=None,
            ffn_width=None,
            bert_style=False,
            dropout=0.0,
        ),
        dict(type='AlignmentHead'),
    ],
)


def pytest_collection_modifyitems(items):
    """Mark as slow what starts processes; tools/run_tests.sh leaves it out unless it is given --all."""
    for item in items:
        if any(folder in item.path.parents for folder in SLOW_FOLDERS):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def fresh_loggers():
    """Forget MMEngine's loggers: one that is found again by its name, a time in seconds, writes to a closed stream."""
    yield
    MMLogger._instance_dict.clear()


@pytest.fixture
def tiny_config():
    """Config of a tiny network, the caller's to change."""
    init_default_scope('mmseg')
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny_batch():
    """Make `batch` normalised images and data samples: `[CLS] words [SEP] pads` and one rectangle as the truth."""

    def make(batch=2, size=64, length=8, original=(50, 70)):
        generator = torch.Generator().manual_seed(3)
        samples = []
        for index in range(batch):
            words = torch.randint(MASK + 1, VOCABULARY, (3 + index,), generator=generator)
            expression = torch.cat([torch.tensor([CLASSIFY]), words, torch.tensor([SEPARATOR])])
            pads = length - len(expression)
            sample = SegDataSample(metainfo=dict(ori_shape=original, img_shape=(size, size)))
            sample.set_data(
                dict(
                    input_ids=torch.nn.functional.pad(expression, (0, pads)),
                    word_mask=torch.nn.functional.pad(torch.ones_like(expression), (0, pads)),
                )
            )
            truth = torch.zeros(1, size, size, dtype=torch.uint8)
            truth[0, 8 : 40 + 8 * index, 16:48] = 1
            sample.gt_sem_seg = PixelData(data=truth)
            samples.append(sample)
        return torch.randn(batch, 3, size, size, generator=generator), samples

    return make


@pytest.fixture(scope='session')
def released():
    """Make the content of a released file of a kind, whole with integer buffers, options and an optimizer's state."""

    def make(kind, apart=False, prefix=''):
        manifest = json.loads((PARITY / MANIFESTS[kind]).read_text())
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
        if apart:  # LAVT with a text encoder beside the model
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
