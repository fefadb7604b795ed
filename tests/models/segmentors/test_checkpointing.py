"""Activation checkpointing changes memory, not gradients."""

import copy

import pytest
import torch
from activation_memory import activation_bytes

from mmmagnet.registry import MODELS

PARTS = ('backbone', 'text_encoder', 'neck', 'decode_head')
DROPOUT = dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
CLIP = dict(
    vocab_size=40,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=16,
    attention_dropout=0.1,
)


def build(config, parts):
    """A network that drops paths and words, with checkpointing in some parts; the same weights each time."""
    config = copy.deepcopy(config)
    config['backbone'].update(depths=(2, 2, 2, 2), drop_path_rate=0.5)
    config['decode_head'].update(pixel_decoder_layers=2)
    if config['text_encoder']['type'] == 'StagedBert':
        config['text_encoder']['config'].update(DROPOUT)
    for part in parts:
        config[part]['with_cp'] = True
    torch.manual_seed(0)
    return MODELS.build(config).train()


def step(model, batch):
    """Forward and backward pass from one state of the random numbers."""
    torch.manual_seed(1)
    losses = model.loss(*batch)
    sum(value for name, value in losses.items() if 'loss' in name).backward()


@pytest.mark.parametrize(
    ('parts', 'text'),
    [*(((part,), 'bert') for part in PARTS), (('text_encoder',), 'clip'), (PARTS, 'bert')],
)
def test_gradients_are_the_same(parts, text, tiny_config, tiny_batch):
    if text == 'clip':
        tiny_config['text_encoder'] = dict(type='StagedClipText', config=CLIP, stage_ends=(1, 2, 3, 4))
    plain, saving = build(tiny_config, ()), build(tiny_config, parts)
    for model in (plain, saving):
        step(model, tiny_batch())
    for (name, expected), found in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None), name
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, msg=name)


def test_less_than_half_of_the_activations(tiny_config, tiny_batch):
    batch = tiny_batch()
    sizes = []
    for parts in ((), PARTS):
        model = build(tiny_config, parts)
        sizes.append(activation_bytes(model, lambda model=model: step(model, batch), 'cpu'))
    assert sizes[1] < 0.5 * sizes[0]


def test_prediction_is_the_same(tiny_config, tiny_batch):
    plain, saving = build(tiny_config, ()).eval(), build(tiny_config, PARTS).eval()
    with torch.no_grad():
        assert saving.encode_decode(*tiny_batch()).equal(plain.encode_decode(*tiny_batch()))
