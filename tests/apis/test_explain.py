"""What a network sees, against what it computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmagnet.apis.explain import decoder_predictions, masked_word_probabilities, pack_sample, word_attention
from mmmagnet.models.aux_heads.auxiliary_head import MaskedWords
from mmmagnet.registry import MODELS

PREPROCESSOR = dict(type='ReferringPreProcessor')


@pytest.fixture
def sample(tiny_batch):
    """One image with four words between [CLS] and [SEP], and two pads."""
    inputs, samples = tiny_batch()
    return {'inputs': inputs[1], 'data_samples': samples[1]}


@pytest.fixture
def model(tiny_config):
    torch.manual_seed(0)
    return MODELS.build({**tiny_config, 'data_preprocessor': PREPROCESSOR}).eval()


def test_word_attention(model, sample):
    shares = word_attention(model, sample)
    assert shares.shape == (4, 6, 16, 16)
    torch.testing.assert_close(shares.sum(1), torch.ones(4, 16, 16))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_word_attention_finds_the_word(model, sample):
    """Keys of zero but for one word's, in one stage: that word is read everywhere there, and nowhere else more."""
    attention = model.neck.stages[2].attention
    torch.nn.init.zeros_(attention.query_norm.weight)
    torch.nn.init.ones_(attention.query_norm.bias)
    only = torch.eye(6)[3].view(1, 6, 1)
    attention.key.register_forward_hook(lambda module, inputs, output: 10 * only + 0 * output)
    shares = word_attention(model, sample)
    assert shares[2, 3].min() > 0.99
    assert shares[1].max() < 0.99


def test_a_neck_without_attention(tiny_config, sample):
    tiny_config.update(neck=dict(type='FiLMFusion'), data_preprocessor=PREPROCESSOR)
    assert word_attention(MODELS.build(tiny_config).eval(), sample) is None


def test_predictions_end_with_the_mask(model, sample):
    predictions = decoder_predictions(model, sample)
    assert predictions.shape == (3, 64, 64)
    (result,) = model.test_step({name: [value] for name, value in sample.items()})
    torch.testing.assert_close(predictions[-1], result.seg_logits.data[0].sigmoid())


def test_a_head_of_one_prediction(tiny_config, sample):
    tiny_config.update(decode_head=dict(type='LAVTHead'), data_preprocessor=PREPROCESSOR)
    assert decoder_predictions(MODELS.build(tiny_config).eval(), sample) is None


def test_guesses_are_those_of_training(model, sample, monkeypatch):
    """Masking one word by hand, as training does, gives the cross-entropy that the probabilities say."""
    probabilities, mask = masked_word_probabilities(model, sample)
    assert probabilities.shape == (4, 40)
    assert torch.equal(mask, sample['data_samples'].gt_sem_seg.data[0] == 1)
    head, item = model.auxiliary_head.grounding, sample['data_samples']
    for index in range(4):
        chosen = torch.tensor([index + 1])
        masked = item.input_ids.clone()
        masked[chosen] = head.mask_token_id
        words = MaskedWords(input_ids=masked[None], positions=chosen, target=item.input_ids[chosen])
        monkeypatch.setattr(head, 'mask_words', lambda *_, words=words: words)
        loss = model.loss(sample['inputs'][None], [item])['loss_grounding']
        torch.testing.assert_close(loss, -probabilities[index, item.input_ids[chosen[0]]].log())


def test_place_of_the_predicted_mask(model, sample):
    del sample['data_samples'].gt_sem_seg
    _, mask = masked_word_probabilities(model, sample)
    (result,) = model.test_step({name: [value] for name, value in sample.items()})
    assert torch.equal(mask, result.seg_logits.data[0] > 0)


def test_no_grounding(tiny_config, sample):
    tiny_config.update(auxiliary_head=None, data_preprocessor=PREPROCESSOR)
    assert masked_word_probabilities(MODELS.build(tiny_config).eval(), sample) is None


def test_pack_sample():
    """The mask goes the image's way through the pipeline."""
    seen = pack_sample(lambda results: results, np.zeros((4, 6, 3), np.uint8), 'x', np.ones((4, 6), bool))
    assert (seen['seg_fields'], seen['gt_seg_map'].dtype, seen['ori_shape']) == (['gt_seg_map'], np.uint8, (4, 6))
    assert 'seg_fields' not in pack_sample(lambda results: results, np.zeros((4, 6, 3), np.uint8), 'x')
