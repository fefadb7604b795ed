"""Names of the released checkpoints' entries, for every entry of our models.

The rules run from our name to the released one, in order, each on the result of those before it. So what a file lacks
is known by its released name, and what is left over in a file is either listed here as unused, or an error.
"""

from __future__ import annotations

import re

Rules = list[tuple[str, str]]

_WORD_ATTENTION: Rules = [
    (r'\.image\.', '.vis_project.0.'),
    (r'\.fuse\.', '.project_mm.0.'),
    (r'\.(?P<part>query|key|value)\.', r'.image_lang_att.f_\g<part>.0.'),
    (r'\.query_norm\.', '.image_lang_att.f_query.1.'),
    (r'\.out\.', '.image_lang_att.W.0.'),
    (r'\.out_norm\.', '.image_lang_att.W.1.'),
]
_GATE: Rules = [(r'gate\.inner\.', 'gate.0.'), (r'gate\.outer\.', 'gate.2.')]
_TEXT_TOWER: Rules = [(r'^text_encoder\.layers\.', 'text_encoder.encoder.layer.')]


def _image_encoder(name: str) -> Rules:
    """Swin and the image side of its alignment modules, which the releases keep in one module called `name`."""
    fusion = rf'^({name}\.layers\.\d+\.fusions?(?:\.\d+)?)'
    return [
        (r'^backbone\.stages\.(\d+)\.(\d+)\.', rf'{name}.layers.\1.blocks.\2.'),
        (r'\.mlp\.0\.', '.mlp.fc1.'),
        (r'\.mlp\.2\.', '.mlp.fc2.'),
        (r'^backbone\.downsamples\.(\d+)\.', rf'{name}.layers.\1.downsample.'),
        (r'^backbone\.patch_embed\.', rf'{name}.patch_embed.'),
        (r'^neck\.stages\.(\d+)\.attention\.', rf'{name}.layers.\1.fusion.'),
        (r'^neck\.stages\.(\d+)\.pyramid\.(\d+)\.attention\.', rf'{name}.layers.\1.fusions.\2.'),
        (r'^neck\.stages\.(\d+)\.gate\.', rf'{name}.layers.\1.res_gate.'),
        (r'res_gate\.inner\.', 'res_gate.0.'),
        (r'res_gate\.outer\.', 'res_gate.2.'),
        *[(fusion + pattern, rf'\1{replacement}') for pattern, replacement in _WORD_ATTENTION],
    ]


MAGNET: Rules = [
    *_image_encoder('image_model'),
    (r'^neck\.stages\.(\d+)\.pyramid\.(\d+)\.reduce\.0\.', r'image_model.layers.\1.pyramids.\2.1.'),
    (r'^neck\.stages\.(\d+)\.pyramid\.(\d+)\.reduce\.1\.', r'image_model.layers.\1.pyramids.\2.2.'),
    (r'^neck\.stages\.(\d+)\.pyramid\.(\d+)\.reduce\.2\.', r'image_model.layers.\1.pyramids.\2.3.'),
    (r'^neck\.stages\.(\d+)\.pyramid\.(\d+)\.reduce\.4\.', r'image_model.layers.\1.pyramids.\2.5.'),
    (r'^neck\.stages\.(\d+)\.mixer\.', r'image_model.layers.\1.mixer.'),
    # the text side is kept in the text encoder; its `vis_project` reads words
    (r'^neck\.stages\.(\d+)\.text_attention\.text\.', r'language_model.pwams.\1.vis_project.0.'),
    (r'^neck\.stages\.(\d+)\.text_attention\.', r'language_model.pwams.\1.'),
    *[(rf'^(language_model\.pwams\.\d+){pattern}', rf'\1{replacement}') for pattern, replacement in _WORD_ATTENTION],
    (r'^neck\.stages\.(\d+)\.text_gate\.inner\.', r'language_model.res_gates.\1.0.'),
    (r'^neck\.stages\.(\d+)\.text_gate\.outer\.', r'language_model.res_gates.\1.2.'),
    *_TEXT_TOWER,
    (r'^text_encoder\.', 'language_model.'),
    # decoder
    (r'^decode_head\.pixel_decoder\.projections\.', 'classifier.pixel_decoder.input_proj.'),
    (r'^decode_head\.pixel_decoder\.level_embed', 'classifier.pixel_decoder.transformer.level_embed'),
    (r'^decode_head\.pixel_decoder\.layers\.', 'classifier.pixel_decoder.transformer.encoder.layers.'),
    (r'^(classifier\.pixel_decoder\.transformer\.encoder\.layers\.\d+)\.attention\.', r'\1.self_attn.'),
    (r'^decode_head\.pixel_decoder\.', 'classifier.pixel_decoder.'),
    (r'^decode_head\.query_decoder\.', 'classifier.predictor.'),
    (r'predictor\.layers\.(\d+)\.(self|cross)_(attention|norm)\.', r'predictor.transformer_\2_attention_layers.\1.\3.'),
    (r'(transformer_self_attention_layers\.\d+)\.attention\.', r'\1.self_attn.'),
    (r'(transformer_cross_attention_layers\.\d+)\.attention\.', r'\1.multihead_attn.'),
    (r'predictor\.layers\.(\d+)\.ffn_norm\.', r'predictor.transformer_ffn_layers.\1.norm.'),
    (r'predictor\.layers\.(\d+)\.', r'predictor.transformer_ffn_layers.\1.'),
    (r'predictor\.norm\.', 'predictor.decoder_norm.'),
    (r'predictor\.(query_feat|query_embed|level_embed)$', r'predictor.\1.weight'),
    (r'predictor\.mask_embed\.0\.', 'predictor.mask_embed.layers.0.'),
    (r'predictor\.mask_embed\.2\.', 'predictor.mask_embed.layers.1.'),
    (r'predictor\.mask_embed\.4\.', 'predictor.mask_embed.layers.2.'),
    # training
    (r'^auxiliary_head\.\d+\.word_proj\.', 'lang_proj.'),
]

# the decoder counts from the coarsest map, 4, down
LAVT: Rules = [
    *_image_encoder('backbone'),
    (r'^neck\.stages\.(\d+)\.mixer\.', r'backbone.norm\1.'),
    *_TEXT_TOWER,
    *[
        (rf'^decode_head\.scales\.{scale}\.{conv}\.(conv|bn)\.', rf'classifier.\g<1>{conv + 1}_{4 - scale}.')
        for scale in range(3)
        for conv in range(2)
    ],
    (r'^decode_head\.classify\.', 'classifier.conv1_1.'),
]

RULES = {'magnet': MAGNET, 'lavt': LAVT}

# entries of the files that may be left over: buffers that follow from sizes, and modules without effect on the masks
_BLOCK = r'layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.relative_position_index)'
_TEXT = r'(embeddings\.position_ids|pooler\.dense\.(weight|bias))'
UNUSED = {
    'magnet': re.compile(
        rf'image_model\.({_BLOCK}|norm[0-3]\.(weight|bias))'
        rf'|language_model\.({_TEXT}|norms\.[0-3]\.(weight|bias))|lang_proj\.(weight|bias)'
    ),
    'lavt': re.compile(rf'backbone\.{_BLOCK}|text_encoder\.{_TEXT}'),
}


def released_name(name: str, kind: str) -> str:
    """The released name of one of our entries.

    Args:
        name: Of an entry of `ReferringSegmentor`'s state dict.
        kind: ``'magnet'`` or ``'lavt'``.
    """
    for pattern, replacement in RULES[kind]:
        name = re.sub(pattern, replacement, name)
    return name
