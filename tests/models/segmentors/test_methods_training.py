"""CARIS and ReLA in miniature learn, every weight of them, with and without Mask Grounding and the alignment loss."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmagnet.registry import MODELS

TINY = Path(__file__).parents[3] / 'configs/_base_/models/magnet_tiny.py'
HEAD = dict(feat_channels=64, num_groups=8, num_heads=4, num_points=2)
METHODS = {
    'caris': dict(
        encoding='image_first',
        neck=dict(type='ImagePrompts'),
        decode_head=dict(type='CARISHead', num_layers=2, **HEAD),
    ),
    'rela': dict(
        neck=dict(
            type='CrossModalAlignmentModule',
            pool_sizes=(),
            bidirectional=False,
            norm='instance',
            gate_activation='relu',
        ),
        decode_head=dict(
            type='ReLAHead',
            num_queries=16,
            pixel_decoder_layers=1,
            pixel_decoder_ffn=64,
            decoder_layers=3,
            decoder_ffn=64,
            **HEAD,
        ),
    ),
}


@pytest.fixture
def network(tiny_config):
    """Build a method on the miniature encoders of magnet_tiny.py, with words of the tests' vocabulary."""

    def make(method, heads, extra_masked_pass=False):
        torch.manual_seed(0)
        model = Config.fromfile(TINY).model.to_dict()
        text = model['text_encoder']
        stage_ends = (4,) if method == 'caris' else (4, 4, 4, 4)
        words = dict(config={**text['config'], 'vocab_size': 40}, stage_ends=stage_ends, mask_token_id=4)
        grounding, alignment = model['auxiliary_head']
        grounding |= dict(extra_masked_pass=extra_masked_pass, mask_prob=0.5)
        auxiliary = [grounding, alignment] if heads else None
        changed = dict(text_encoder={**text, **words}, auxiliary_head=auxiliary, data_preprocessor=None)
        return MODELS.build({**model, **METHODS[method], **changed})

    return make


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize(('heads', 'extra_masked_pass'), [(False, False), (True, False), (True, True)])
def test_ten_steps(method, heads, extra_masked_pass, network, tiny_batch):
    model, (inputs, samples) = network(method, heads, extra_masked_pass), tiny_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(10):
        losses = model.loss(inputs, samples)
        assert ('loss_grounding' in ''.join(losses)) == heads
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        missing = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
        assert missing == []
        optimizer.step()
        history.append(sum(value.item() for name, value in losses.items() if name.startswith('decode.loss')))
    assert sum(history[-3:]) < 0.9 * sum(history[:3])
    predicted = model.eval().predict(inputs, samples)[0]
    assert predicted.pred_sem_seg.shape == (50, 70)
    assert ('target_score' in predicted) == (method == 'rela')


@pytest.mark.parametrize('method', METHODS)
def test_grounding_teaches_words_and_image(method, network, tiny_batch):
    """The guess of masked words alone reaches both encoders."""
    model = network(method, heads=True)
    losses = model.loss(*tiny_batch())
    (grounding,) = [value for name, value in losses.items() if name.endswith('loss_grounding')]
    grounding.backward()
    for weight in (
        model.text_encoder.embeddings.word_embeddings.weight,
        model.text_encoder.layers[-1].output.dense.weight,
        model.backbone.stages[-1][0].mlp[0].weight,
    ):
        assert weight.grad.abs().max() > 0
    assert all(weight.grad is None for name, weight in model.named_parameters() if name.startswith('decode_head'))


@pytest.mark.parametrize('method', METHODS)
def test_padded_words_change_nothing(method, network, tiny_batch):
    model = network(method, heads=False).eval()
    if method == 'rela':  # words enter through a matrix that starts at zero
        torch.nn.init.normal_(model.decode_head.region_decoder.word_proj.weight)
    (inputs, short), (_, long) = tiny_batch(length=8), tiny_batch(length=14)
    with torch.no_grad():
        logits = [model.encode_decode(inputs, samples) for samples in (short, long)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
