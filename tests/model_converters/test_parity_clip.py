"""CRIS and DETRIS compute what their releases do, losses and gradients included."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmagnet.model_converters import CRIS, DETRIS, compare, load_cases, read_release
from mmmagnet.model_converters.cris import make_inputs
from mmmagnet.model_converters.filling import make_entries
from mmmagnet.model_converters.parity import build
from mmmagnet.utils.errors import CheckpointError

DATA = Path(__file__).parents[1] / 'data'
CASES = [('cris', 'square'), ('cris', 'wide'), ('detris', 'square'), ('detris', 'small')]
CONVERTER = {'cris': CRIS, 'detris': DETRIS}
ARRAYS = {'cris': 16, 'detris': 21}


def case_of(kind, name):
    (case,) = load_cases(DATA / f'official_parity_{kind}', [name])
    assert case.converter is CONVERTER[kind]
    return case


def definition(kind):
    spec = importlib.util.spec_from_file_location(f'{kind}_fill', DATA / f'official_parity_{kind}' / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(('kind', 'name'), CASES)
def test_parity(kind, name, published):
    case = case_of(kind, name)
    differences = compare(case, published(kind))
    trained = [difference for difference in differences if difference.array.startswith('train_')]
    assert len(differences) - len(trained) == ARRAYS[kind]
    assert len(trained) == (7 if 'grad_names' in case.settings else 0)
    for difference in differences:
        assert difference.passed, difference


@pytest.mark.parametrize(('kind', 'name'), CASES[1::2])
def test_weights_and_inputs_are_the_definitions(kind, name):
    case, reference = case_of(kind, name), definition(kind)
    entries = make_entries(case.manifest, case.converter.weight)
    expected = reference.official_state_dict(case.manifest)
    assert entries.keys() == expected.keys()
    for entry, value in expected.items():
        np.testing.assert_array_equal(entries[entry].numpy(), value, err_msg=entry)
    image, ids, mask, target = make_inputs(case.settings)
    for ours, value in zip((image, ids, target), reference.inputs(case.settings), strict=True):
        np.testing.assert_array_equal(ours.numpy(), value)
    assert mask.sum(1).tolist() == case.settings['valid_tokens']


def failed_with(case, published, damage):
    """Arrays that differ once `damage` has changed the network."""
    arrays = case.converter.arrays

    def damaged(model, settings):
        damage(model)
        return arrays(model, settings)

    changed = case._replace(converter=replace(case.converter, arrays=damaged))
    return {difference.array for difference in compare(changed, published) if not difference.passed}


@pytest.mark.parametrize(
    ('kind', 'damage', 'first', 'same'),
    [
        ('detris', lambda model: setattr(model.text_encoder, 'hide_pads', True), 'words', {'visual_dense'}),
        (
            'cris',
            lambda model: setattr(model.decode_head.decoder.layers[0].norm1, 'eps', 1e-2),
            'decoder_layer0',
            {'fq'},
        ),
        ('cris', lambda model: setattr(model.neck.gate_norm, 'eps', 1e-2), 'f5', {'c5', 'state'}),
    ],
)
def test_mistakes_are_seen(kind, damage, first, same, published):
    case = case_of(kind, 'square')
    failed = failed_with(case, published(kind), damage)
    assert first in failed
    assert 'logits' in failed
    assert not failed & same


@pytest.mark.parametrize('kind', ['cris', 'detris'])
def test_norms_have_the_published_eps(kind, published):
    """A wrong eps moves the arrays by less than rounding (LayerNorm of DINOv2) or little more."""
    model = build(case_of(kind, 'square'), published(kind))
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == (1e-6 if kind == 'detris' and name.startswith('backbone.') else 1e-5), name
        elif isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert (module.eps, module.momentum) == (1e-3 if 'adapter' in name else 1e-5, 0.1), name


@pytest.mark.parametrize('kind', ['cris', 'detris'])
def test_every_entry_is_used_or_known_as_unused(kind, published):
    case = case_of(kind, 'square')
    model = build(case, published(kind))
    entries = make_entries(case.manifest, case.converter.weight)
    converted, unused = case.converter.convert(entries, model.state_dict())
    assert [name for name in converted if not name.endswith('num_batches_tracked')] == [
        name for name in model.state_dict() if not name.endswith('num_batches_tracked')
    ]
    gates = [f'neck.fusion{i}.multihead_attn.{p}_proj.{n}' for i in (3, 4, 5) for n in ('weight', 'bias') for p in 'qk']
    expected = {'cris': ['backbone.logit_scale'], 'detris': ['txt_backbone.logit_scale', 'dinov2.mask_token', *gates]}
    assert sorted(unused) == sorted(expected[kind])
    assert not converted['text_encoder.mask_embedding'].any()


@pytest.mark.parametrize('kind', ['cris', 'detris'])
def test_file_of_a_release(kind, published, tmp_path):
    """A trained checkpoint, with DDP's prefix, steps of BatchNorm and what its trainer keeps beside."""
    case = case_of(kind, 'square')
    model = build(case, published(kind))
    entries = make_entries(case.manifest, case.converter.weight)
    steps = {name: torch.tensor(7) for name in case.manifest if name.endswith('num_batches_tracked')}
    content = {f'module.{name}': value for name, value in {**entries, **steps}.items()}
    extra = dict(epoch=50, cur_iou=0.7, best_iou=0.7, prec={'Pr@50': 0.8}, optimizer={}, scheduler={})
    torch.save({**extra, 'state_dict': content}, tmp_path / 'best.pth')
    release = read_release(tmp_path / 'best.pth')
    assert release.converter is case.converter
    converted, _ = release.converter.convert(release.entries, model.state_dict())
    assert steps and all(value == 7 for name, value in converted.items() if name.endswith('num_batches_tracked'))
    for name, value in model.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            assert torch.equal(converted[name], value), name


@pytest.mark.parametrize(
    ('kind', 'entry', 'message'),
    [
        ('cris', 'neck.f3_cat.0.weight', r'it lacks neck\.fine_mix\.0\.weight'),
        ('cris', 'backbone.text_projection', r'it lacks text_encoder\.text_projection\.weight'),
        (
            'detris',
            'dinov2.blocks.1.adapter.cross.text_proj.bias',
            r'it lacks backbone\.blocks\.1\.adapter\.text_proj\.bias',
        ),
        ('detris', 'neck.fusion4.multihead_attn.in_proj_weight', r'it lacks neck\.gates\.1\.0\.weight'),
    ],
)
def test_missing_entry(kind, entry, message, published):
    case = case_of(kind, 'square')
    model = build(case, published(kind))
    entries = make_entries(case.manifest, case.converter.weight)
    del entries[entry]
    with pytest.raises(CheckpointError, match=message):
        case.converter.convert(entries, model.state_dict())


@pytest.mark.parametrize(
    ('kind', 'change', 'message'),
    [
        ('cris', {'dim_ffn': 32}, 'has shape'),
        ('cris', {'text_width': None}, "cannot be run: KeyError: 'text_width'"),
        ('detris', {'visual_adapter_dim': 20}, 'adapter of width 20: give a multiple of 16'),
        ('detris', {'vit_depth': None}, 'it lacks backbone'),
    ],
)
def test_sizes_that_our_networks_do_not_have(kind, change, message, published):
    case = case_of(kind, 'square')
    sizes = {name: value for name, value in {**case.sizes, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        build(case._replace(sizes=sizes), published(kind))


def test_every_gradient_norm_counts(published):
    """A norm that is small beside the others is compared with itself."""
    case = case_of('cris', 'wide')
    norms = case.expected['train_grad_norms'].copy()
    smallest = norms.argmin()
    assert norms[smallest] < 0.02 * norms.max()
    norms[smallest] *= 1.1
    changed = case._replace(expected={'train_grad_norms': norms})
    (difference,) = compare(changed, published('cris'))
    assert difference.error == pytest.approx(0.1 / 1.1, rel=0.1)
    assert not difference.passed
