"""Configs that cannot run, told in one line before anything is built."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from mmmagnet.engine.checks import check_amp, check_tokenizers, check_types
from mmmagnet.utils.errors import ConfigError


@pytest.mark.parametrize(
    ('settings', 'wrong'),
    [
        (dict(model=dict(type='ReferringSegmentor', backbone=dict(type='mmseg.ResNet'), norm=[dict(type='LN')])), None),
        (dict(train_dataloader=dict(collate_fn=dict(type='pseudo_collate'))), None),
        (dict(optim_wrapper=dict(optimizer=dict(type='torch.optim.AdamW'))), None),
        (dict(model=dict(text_encoder=dict(config=dict(rope_scaling=dict(type='linear'))))), None),
        (dict(my_variable=dict(type='Nothing')), None),  # which nobody reads
        (dict(model=dict(neck=dict(type='Nothing'))), "model.neck.type='Nothing'"),
        (dict(custom_hooks=[dict(type='no_package.Hook')]), "custom_hooks.0.type='no_package.Hook'"),
    ],
)
def test_types(settings, wrong):
    if wrong is None:
        check_types(Config(settings))
        return
    with pytest.raises(ConfigError, match=f'^{wrong} is not registered: .* custom_imports'):
        check_types(Config(settings))


def test_amp_needs_a_gpu(monkeypatch):
    config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper')))
    for device in ('cuda', 'cpu'):
        monkeypatch.setattr('mmmagnet.engine.checks.get_device', lambda device=device: device)
        if device == 'cuda':
            check_amp(config)
    with pytest.raises(ConfigError, match=r'AmpOptimWrapper: .* needs a GPU'):
        check_amp(config)


SYNTHETIC = 'package://mmmagnet/datasets/synthetic/tokenizer'


@pytest.mark.parametrize(
    ('encoder', 'message'),
    [
        (dict(vocab_size=160, mask_token_id=4), None),
        (dict(vocab_size=200, mask_token_id=None), None),
        (dict(vocab_size=160, max_tokens=20), None),
        (dict(vocab_size=160, max_tokens=19), 'max_length=20, but the text encoder has places for 19 tokens'),
        (dict(vocab_size=100, mask_token_id=4), r'tokenizer=.* has 160 words and .*vocab_size=100 fewer'),
        (dict(vocab_size=160, mask_token_id=103), r'mask_token_id=103, but \[MASK\] of .* is 4: take the tokenizer'),
        (None, None),
    ],
)
def test_tokenizers_belong_to_the_text_encoder(encoder, message):
    dataset = dict(
        type='RefCOCODataset', pipeline=[dict(type='TokenizeExpression', tokenizer=SYNTHETIC, max_length=20)]
    )
    config = Config(dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))))
    model = torch.nn.Module()
    model.text_encoder = encoder and SimpleNamespace(**encoder)
    if message is None:
        check_tokenizers(config, model)
    else:
        with pytest.raises(ConfigError, match=message):
            check_tokenizers(config, model)
