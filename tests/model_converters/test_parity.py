"""The network computes what the released ones compute, for given weights and inputs.

`tests/data/official_parity*` hold the cases as data. `official_parity/fill.py` is the definition of weights and inputs,
and the reference for ours.
"""

import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmagnet.model_converters import Difference, compare, load_cases
from mmmagnet.model_converters.filling import make_entries, make_inputs
from mmmagnet.utils.errors import CheckpointError

DATA = Path(__file__).parents[1] / 'data' / 'official_parity'
CASES = [  # folder, case, number of arrays
    ('official_parity', 'square', 9),
    ('official_parity', 'wide', 9),
    ('official_parity', 'lavt_square', 6),
    ('official_parity', 'lavt_wide', 6),
    ('official_parity_rela', 'square', 38),
    ('official_parity_rela', 'wide', 35),
    ('official_parity_caris', 'caris_square', 30),
    ('official_parity_caris', 'caris_wide', 30),
]


@pytest.fixture(scope='module')
def definition():
    spec = importlib.util.spec_from_file_location('official_parity_fill', DATA / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(('folder', 'name', 'arrays'), CASES)
def test_parity(folder, name, arrays, published):
    (case,) = load_cases(DATA.with_name(folder), [name])
    differences = compare(case, published(case.converter.kind))
    assert len(differences) == arrays
    for difference in differences:
        assert difference.passed, difference


@pytest.mark.parametrize(('folder', 'name'), [case[:2] for case in CASES[::3]])
def test_weights_and_inputs_are_the_definitions(folder, name, definition):
    (case,) = load_cases(DATA.with_name(folder), [name])
    entries = make_entries(case.manifest)
    reference = definition.official_state_dict(case.manifest)
    assert entries.keys() == reference.keys()
    for entry, value in reference.items():
        np.testing.assert_array_equal(entries[entry].numpy(), value, err_msg=entry)
    for ours, value in zip(make_inputs(case.settings), definition.inputs(case.settings), strict=True):
        np.testing.assert_array_equal(ours.numpy(), value)


def test_the_default_is_another_network(published):
    """Without official_compat the text side is corrected, so words and masks differ from the release's."""
    (case,) = load_cases(DATA, ['wide'])
    config = published('magnet')
    config['neck'] = {**config['neck'], 'official_compat': False}
    failed = {difference.array for difference in compare(case, config) if not difference.passed}
    assert 'fused_s1' not in failed  # read before any word is updated
    assert {'text_features', 'fused_s2', 'pred_masks'} <= failed


def eps_of_the_text_norms(model):
    for module in model.text_encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5


def order_of_the_image_norms(model):
    norms = model.decode_head.two_way_decoder.layers[0].image_norms
    norms[0], norms[1] = norms[1], norms[0]


def hidden_pads(model):
    model.decode_head.region_decoder.official_compat = False


def corners_aligned(model):
    model.decode_head.align_corners ^= True


@pytest.mark.parametrize(
    ('method', 'name', 'damage', 'first', 'same'),
    [
        ('caris', 'caris_square', eps_of_the_text_norms, 'logits', 'image_s4'),
        ('caris', 'caris_square', order_of_the_image_norms, 'first_image_read_words', 'decoder_image_0'),
        ('caris', 'caris_wide', corners_aligned, 'loss', 'logits'),
        ('rela', 'square', hidden_pads, 'language', 'regions_first_cross'),
        ('rela', 'wide', corners_aligned, 'full_masks', 'pred_masks'),
    ],
)
def test_mistakes_are_seen(method, name, damage, first, same, published):
    (case,) = load_cases(DATA.with_name(f'official_parity_{method}'), [name])
    arrays = case.converter.arrays

    def damaged(model, settings):
        damage(model)
        return arrays(model, settings)

    changed = case._replace(converter=replace(case.converter, arrays=damaged))
    passed = {difference.array: difference.passed for difference in compare(changed, published(method))}
    assert not passed[first]
    assert passed[same]


@pytest.mark.parametrize(
    ('error', 'scale', 'passed'),
    [(1e-4, 1.0, True), (2e-4, 1.0, False), (0.0, 0.0, True), (math.inf, 1.0, False), (math.nan, 1.0, False)],
)
def test_difference(error, scale, passed):
    assert Difference('x', error, scale, 1e-4).passed == passed


@pytest.fixture
def folder(tmp_path):
    """A copy of the cases with one left."""
    shutil.copytree(DATA, tmp_path / 'cases')
    listed = json.loads((DATA / 'cases.json').read_text())
    (tmp_path / 'cases' / 'cases.json').write_text(json.dumps({'lavt_wide': listed['lavt_wide']}))
    return tmp_path / 'cases'


def rewrite(path, **changes):
    content = json.loads(path.read_text())
    for field, value in changes.items():
        if value is None:
            del content[field]
        else:
            content[field] = value
    path.write_text(json.dumps(content))


def rewrite_case(folder, **changes):
    content = json.loads((folder / 'cases.json').read_text())
    content['lavt_wide'].update(changes)
    (folder / 'cases.json').write_text(json.dumps(content))


def test_folder_of_other_sizes_and_arrays(folder, published):
    """Array names and sizes come from the folder; an array of another shape fails instead of being cut to fit."""
    with np.load(folder / 'expected_lavt_wide.npz') as stored:
        logits = stored['logits']
    np.savez(folder / 'expected_lavt_wide.npz', logits=logits[:, :, :-1])
    (difference,) = compare(load_cases(folder)[0], published('lavt'))
    assert (difference.array, difference.error) == ('logits', math.inf)
    np.savez(folder / 'expected_lavt_wide.npz', masks=logits)
    with pytest.raises(CheckpointError, match=r"expects \['masks'\], known are fused_s1"):
        compare(load_cases(folder)[0], published('lavt'))


@pytest.mark.parametrize(
    ('damage', 'error', 'message'),
    [
        (lambda at: (at / 'cases.json').unlink(), FileNotFoundError, r'cases\.json: no such file'),
        (lambda at: (at / 'cases.json').write_text('{'), CheckpointError, r'cases\.json: not a JSON file'),
        (lambda at: (at / 'cases.json').write_text('[1]'), CheckpointError, r'expected a JSON object'),
        (lambda at: (at / 'cases.json').write_text('{}'), CheckpointError, r'cases\.json: lists no case'),
        (lambda at: (at / 'manifest_lavt_small.json').unlink(), FileNotFoundError, 'manifest_lavt_small'),
        (lambda at: (at / 'expected_lavt_wide.npz').write_bytes(b'PK\3\4x'), CheckpointError, 'not a whole .npz'),
        (lambda at: (at / 'expected_lavt_wide.npz').unlink(), FileNotFoundError, 'expected_lavt_wide'),
        (
            lambda at: np.savez(at / 'expected_lavt_wide.npz', logits=['a']),
            CheckpointError,
            'logits holds 1 numbers of <U1',
        ),
        (lambda at: rewrite_case(at, manifest=None), CheckpointError, "case 'lavt_wide' cannot be run: TypeError"),
        (lambda at: rewrite_case(at, height='80'), CheckpointError, "case 'lavt_wide' cannot be run"),
        (lambda at: rewrite_case(at, valid_tokens=[3, 4]), CheckpointError, "case 'lavt_wide' cannot be run"),
        (lambda at: rewrite_case(at, vocab_size=5000), CheckpointError, "case 'lavt_wide' cannot be run"),
        (lambda at: rewrite_case(at, tokens=600), CheckpointError, "case 'lavt_wide' cannot be run"),
        (
            lambda at: rewrite(at / 'manifest_lavt_small.json', **{'backbone.norm0.bias': 'x'}),
            CheckpointError,
            "case 'lavt_wide' cannot be run",
        ),
    ],
)
def test_damaged_folder(folder, damage, error, message, published):
    damage(folder)
    with pytest.raises(error, match=message):
        compare(load_cases(folder)[0], published('lavt'))


@pytest.mark.parametrize(
    ('sizes', 'message'),
    [
        ({'num_heads': [3, 2, 4, 8]}, 'cannot be run: '),
        ({'depths': [2, 2, 3, 2]}, r'it lacks backbone\.stages\.2\.2\.norm1\.weight \(13 of'),
        ({'window_size': 5}, r'bias_table \(here backbone\.\S+\) has shape \(49, 1\), the config makes \(81, 1\)'),
        ({'bert': {'hidden_size': 32, 'num_attention_heads': 5}}, 'cannot be run: '),
    ],
)
def test_sizes_that_our_networks_do_not_have(folder, sizes, message, published):
    rewrite(folder / 'arch_lavt_small.json', **sizes)
    with pytest.raises(CheckpointError, match=message):
        compare(load_cases(folder)[0], published('lavt'))


def test_case_by_name():
    with pytest.raises(CheckpointError, match="has no case 'oblong', only square, wide, lavt_square, lavt_wide"):
        load_cases(DATA, ['oblong'])
