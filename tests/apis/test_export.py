"""A network as one function gives what the segmentor gives; the parts of its export."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from mmmagnet.apis.export import ExportableSegmentor, example_inputs, largest_error, needed, runner_facts, traceable
from mmmagnet.datasets.transforms.expression import TokenizeExpression
from mmmagnet.models.layers import cross_decoder, deformable_attention
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError

TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'
NORMALISED = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


def build(config, **preprocessor):
    torch.manual_seed(0)
    preprocessor = {'type': 'ReferringPreProcessor', **preprocessor}
    return MODELS.build({**config, 'data_preprocessor': preprocessor}).eval()


@pytest.mark.parametrize('preprocessor', [{}, dict(bgr_to_rgb=True), dict(bgr_to_rgb=True, **NORMALISED), NORMALISED])
@pytest.mark.parametrize('no_target', [False, True])
def test_function_is_the_segmentor(tiny_config, tiny_batch, preprocessor, no_target):
    """Images are RGB here and BGR there; the logits are those at the input's size."""
    tiny_config['decode_head']['no_target'] = no_target
    model = build(tiny_config, **preprocessor)
    _, samples = tiny_batch()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    words = [torch.stack([sample.get(name) for sample in samples]) for name in ('input_ids', 'word_mask')]
    model.decode_head.target_threshold = 1.0  # the segmentor would empty all masks; the function leaves that to runners
    with torch.no_grad():
        logits, *score = ExportableSegmentor(model)(images, *words)
        model.decode_head.target_threshold = 0.0
        results = model.test_step({'inputs': list(images.flip(1)), 'data_samples': samples})
    torch.testing.assert_close(logits, torch.cat([result.seg_logits.data for result in results]))
    assert len(score) == no_target
    if no_target:
        torch.testing.assert_close(score[0], torch.stack([result.target_score for result in results]))


@pytest.mark.parametrize(
    ('step', 'text'),
    [
        (dict(max_length=20), 'the red circle'),
        (dict(max_length=4), 'the red circle on the left'),
        (dict(max_length=4, keep_end=True), 'the red circle on the left'),
    ],
)
def test_tokenizer_of_a_runner(tiny_config, step, text):
    """Its ids, cut to `max_words`, are those of the pipeline, pads aside."""
    transform = TokenizeExpression(TOKENIZER, **step)
    facts = runner_facts(build(tiny_config), [transform])
    found = Tokenizer.from_str(facts['tokenizer']).encode(text)
    given = transform.transform({'expression': text})
    real = given['word_mask'].sum()
    assert found.ids[: facts['max_words']] == given['input_ids'][:real].tolist()
    assert math.isclose(facts['threshold'], 0, abs_tol=1e-9)


@pytest.mark.parametrize(('reads_padding', 'length'), [(False, 5), (True, 20)])
def test_pads_of_a_runner(tiny_config, reads_padding, length):
    model = build(tiny_config)
    model.decode_head.reads_padding = reads_padding
    facts = runner_facts(model, [TokenizeExpression(TOKENIZER, pad_token_id=7)])
    found = Tokenizer.from_str(facts['tokenizer']).encode_batch(['the red circle', 'circle'])
    assert [len(one.ids) for one in found] == [length, length]
    assert found[1].ids[-1] == 7
    assert found[1].attention_mask[-1] == 0


def test_a_pipeline_without_words(tiny_config):
    with pytest.raises(ConfigError, match='no TokenizeExpression'):
        runner_facts(build(tiny_config), [])


def test_sampling_and_attention_of_a_trace():
    """What stands in for a layer's own functions gives the same; they are back afterwards."""
    own = deformable_attention.sample_by_rows, functional.scaled_dot_product_attention, torch.autocast
    queries, keys, bias = torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(5, 7)
    expected = functional.scaled_dot_product_attention(queries, keys, keys, scale=0.3)
    heads = functional.scaled_dot_product_attention(queries[None], keys[None], keys[None], bias)
    places = cross_decoder.sine_positions_1d(6, 8, torch.device('cpu'))
    with traceable():
        assert deformable_attention.sample_by_rows is deformable_attention.sample_by_grid
        torch.testing.assert_close(functional.scaled_dot_product_attention(queries, keys, keys, scale=0.3), expected)
        found = functional.scaled_dot_product_attention(queries[None], keys[None], keys[None], bias)
        torch.testing.assert_close(found, heads)
        torch.testing.assert_close(cross_decoder.sine_positions_1d(6, 8, torch.device('cpu')), places)
    assert own == (deformable_attention.sample_by_rows, functional.scaled_dot_product_attention, torch.autocast)


def test_example_inputs():
    inputs = example_inputs((8, 12), 3, 5, 40)
    assert {name: tuple(value.shape) for name, value in inputs.items()} == {
        'image': (3, 3, 8, 12),
        'input_ids': (3, 5),
        'word_mask': (3, 5),
    }
    assert inputs['word_mask'].sum(1).tolist() == [5, 5, 4]


@pytest.mark.parametrize(
    ('found', 'error'),
    [([[2.0, -4.0]], 0.0), ([[2.0, -3.0]], 0.25), ([[3.0, -4.0]], 0.25), ([[2.0, math.nan]], math.nan)],
)
def test_largest_error(found, error):
    value = largest_error([np.array([[2.0, -4.0]]), np.ones(2)], [np.array(found), np.ones(2)])
    assert value == error or (math.isnan(value) and math.isnan(error))


def test_missing_package():
    needed('numpy')
    with pytest.raises(ConfigError, match=r"no_such_package is not installed; pip install 'mmmagnet\[export\]'"):
        needed('numpy', 'no_such_package')
