"""The network computes what the released evaluation computes, for given weights and inputs.

`tests/data/official_parity` holds the cases as data: names and shapes of the released checkpoint, a function that fills
them, and the numbers that came out. With `compat` the text-side defects of the release are reproduced.
"""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch

from mmmagnet.registry import MODELS

DATA = Path(__file__).parents[1] / 'data' / 'official_parity'
TOLERANCE = 1e-4  # of the largest number expected

# what the released checkpoint carries without effect on the output
UNUSED = re.compile(r'image_model\.norm\d|language_model\.norms\.|lang_proj\.')

# parts of names, in this order: the released one -> ours
NAMES = [
    (r'^image_model\.patch_embed', 'backbone.patch_embed'),
    (r'^image_model\.layers\.(\d)\.blocks\.(\d+)', r'backbone.stages.\1.\2'),
    (r'\.mlp\.fc1', '.mlp.0'),
    (r'\.mlp\.fc2', '.mlp.2'),
    (r'^image_model\.layers\.(\d)\.downsample', r'backbone.downsamples.\1'),
    # bridges
    (r'^image_model\.layers\.(\d)\.fusion\.', r'neck.bridges.\1.attention.'),
    (r'^image_model\.layers\.(\d)\.fusions\.(\d)\.', r'neck.bridges.\1.pyramid.\2.attention.'),
    (r'^image_model\.layers\.(\d)\.pyramids\.(\d)\.1\.', r'neck.bridges.\1.pyramid.\2.reduce.0.'),
    (r'^image_model\.layers\.(\d)\.pyramids\.(\d)\.2\.', r'neck.bridges.\1.pyramid.\2.reduce.1.'),
    (r'^image_model\.layers\.(\d)\.pyramids\.(\d)\.3\.', r'neck.bridges.\1.pyramid.\2.reduce.2.'),
    (r'^image_model\.layers\.(\d)\.pyramids\.(\d)\.5\.', r'neck.bridges.\1.pyramid.\2.reduce.4.'),
    (r'^image_model\.layers\.(\d)\.mixer', r'neck.bridges.\1.mixer'),
    (r'^image_model\.layers\.(\d)\.res_gate\.', r'neck.bridges.\1.gate.'),
    (r'^language_model\.res_gates\.(\d)\.', r'neck.bridges.\1.text_gate.'),
    (r'gate\.0', 'gate.inner'),
    (r'gate\.2', 'gate.outer'),
    (r'^language_model\.pwams\.(\d)\.vis_project\.0', r'neck.bridges.\1.text_attention.text'),
    (r'^language_model\.pwams\.(\d)\.', r'neck.bridges.\1.text_attention.'),
    (r'vis_project\.0', 'image'),
    (r'project_mm\.0', 'fuse'),
    (r'image_lang_att\.f_(query|key|value)\.0', r'\1'),
    (r'image_lang_att\.f_query\.1', 'query_norm'),
    (r'image_lang_att\.W\.0', 'out'),
    (r'image_lang_att\.W\.1', 'out_norm'),
    # text tower
    (r'^language_model\.encoder\.layer\.', 'text_encoder.layers.'),
    (r'^language_model\.embeddings\.', 'text_encoder.embeddings.'),
    # decoder
    (r'^classifier\.pixel_decoder\.input_proj\.', 'decode_head.pixel_decoder.projections.'),
    (r'^classifier\.pixel_decoder\.transformer\.level_embed', 'decode_head.pixel_decoder.level_embed'),
    (r'^classifier\.pixel_decoder\.transformer\.encoder\.layers\.', 'decode_head.pixel_decoder.layers.'),
    (r'^(decode_head\.pixel_decoder\.layers\.\d+)\.self_attn\.', r'\1.attention.'),
    (r'^classifier\.pixel_decoder\.mask_features', 'decode_head.pixel_decoder.mask_features'),
    (r'^classifier\.predictor\.', 'decode_head.query_decoder.'),
    (r'transformer_(self|cross)_attention_layers\.(\d+)\.(self_attn|multihead_attn)', r'layers.\2.\1_attention'),
    (r'transformer_(self|cross)_attention_layers\.(\d+)\.norm', r'layers.\2.\1_norm'),
    (r'transformer_ffn_layers\.(\d+)\.norm', r'layers.\1.ffn_norm'),
    (r'transformer_ffn_layers\.', 'layers.'),
    (r'query_decoder\.decoder_norm', 'query_decoder.norm'),
    (r'(query_feat|query_embed|query_decoder\.level_embed)\.weight', r'\1'),
    (r'mask_embed\.layers\.2', 'mask_embed.4'),
    (r'mask_embed\.layers\.1', 'mask_embed.2'),
    (r'mask_embed\.layers\.0', 'mask_embed.0'),
]


def fill():
    spec = importlib.util.spec_from_file_location('official_parity_fill', DATA / 'fill.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convert(name, value, shape):
    """Our name for a released entry, and its value in our shape: 1-wide convolutions are linear layers here."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    value = torch.from_numpy(value)
    return name, value.view(shape[name]) if value.squeeze().shape == torch.Size(shape[name]) else value


@pytest.fixture(scope='module')
def model():
    released = json.loads((DATA / 'manifest_small.json').read_text())
    arch = json.loads((DATA / 'arch_small.json').read_text())
    sizes = {name: arch[name] for name in ('embed_dims', 'depths', 'num_heads', 'window_size')}
    built = MODELS.build(
        dict(
            type='ReferringSegmentor',
            backbone=dict(type='StagedSwin', **sizes),
            text_encoder=dict(
                type='StagedBert', config=dict(model_type='bert', **arch['bert']), stage_ends=arch['text_stage_ends']
            ),
            neck=dict(type='CrossModalAlignment', compat=True),
            decode_head=dict(
                type='MagNetHead',
                pixel_decoder_layers=arch['pixel_decoder_layers'],
                decoder_layers=arch['decoder_layers'],
            ),
        )
    ).eval()
    shape = {name: value.shape for name, value in built.state_dict().items()}
    entries = fill().official_state_dict({name: s for name, s in released.items() if not UNUSED.match(name)})
    built.load_state_dict(dict(convert(name, value, shape) for name, value in entries.items()))
    return built


@pytest.mark.parametrize('name', ['square', 'wide'])
def test_parity(name, model, monkeypatch):
    cases = fill()
    case, _, expected = cases.load(DATA, name)
    words = {}
    bridge = model.neck.bridge

    def listen(stage, *given):
        result = bridge(stage, *given)
        words[stage] = result[2]
        return result

    monkeypatch.setattr(model.neck, 'bridge', listen)
    with torch.no_grad():
        features = model.extract_feat(*map(torch.from_numpy, cases.inputs(case)))
        *earlier, final = (decoded := model.decode_head(features.maps)).predictions
    results = {
        **{f'fused_s{stage}': feature[:, :16] for stage, feature in enumerate(features.maps, start=1)},
        'text_features': words[2][:, :, ::16],
        'mask_features': decoded.mask_features[:, ::16],
        'pred_masks': final.masks,
        'pred_logits': final.classes,
        'aux_pred_masks': torch.stack([prediction.masks for prediction in earlier]),
    }
    assert results.keys() == expected.keys()
    for key, value in expected.items():
        assert results[key].shape == value.shape, key
        error = abs(results[key].numpy() - value).max() / abs(value).max()
        assert error < TOLERANCE, f'{key} differs by {error:.1e} of its maximum'
