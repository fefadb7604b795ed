"""MagNet's released checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .converter import Converter, Rules, resize_model, watch
from .lavt import BERT_UNUSED, GATE, SWIN, SWIN_UNUSED, WORD_ATTENTION, image_encoder

DECODER: Rules = [
    (r'^classifier\.pixel_decoder\.input_proj\.', 'decode_head.pixel_decoder.projections.'),
    (r'^classifier\.pixel_decoder\.transformer\.level_embed', 'decode_head.pixel_decoder.level_embed'),
    (r'^classifier\.pixel_decoder\.transformer\.encoder\.layers\.', 'decode_head.pixel_decoder.layers.'),
    (r'^(decode_head\.pixel_decoder\.layers\.\d+)\.self_attn\.', r'\1.attention.'),
    (r'^classifier\.pixel_decoder\.', 'decode_head.pixel_decoder.'),
    (r'^classifier\.predictor\.', 'decode_head.query_decoder.'),
    (r'\.transformer_(self|cross)_attention_layers\.(\d+)\.norm\.', r'.layers.\2.\1_norm.'),
    (r'\.transformer_(self|cross)_attention_layers\.(\d+)\.(self_attn|multihead_attn)\.', r'.layers.\2.\1_attention.'),
    (r'\.transformer_ffn_layers\.(\d+)\.norm\.', r'.layers.\1.ffn_norm.'),
    (r'\.transformer_ffn_layers\.(\d+)\.', r'.layers.\1.'),
    (r'\.decoder_norm\.', '.norm.'),
    (r'(query_decoder)\.(query_feat|query_embed|level_embed)\.weight$', r'\1.\2'),
    (r'\.mask_embed\.layers\.0\.', '.mask_embed.0.'),
    (r'\.mask_embed\.layers\.1\.', '.mask_embed.2.'),
    (r'\.mask_embed\.layers\.2\.', '.mask_embed.4.'),
]


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """MagNet at other sizes."""
    parts = {'backbone': SWIN, 'decode_head': ('pixel_decoder_layers', 'decoder_layers')}
    return resize_model(model, sizes, parts)


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of MagNet expects."""
    maps, words, decoded = watch(model, settings)
    *earlier, final = decoded.predictions
    return {
        **{f'fused_s{stage}': fused[:, :16] for stage, fused in enumerate(maps, start=1)},
        'text_features': words[:, :, ::16],
        'mask_features': decoded.mask_features[:, ::16],
        'pred_masks': final.masks,
        'pred_logits': final.classes,
        'aux_pred_masks': torch.stack([prediction.masks for prediction in earlier]),
    }


MAGNET = Converter(
    kind='magnet',
    config='magnet_swin_b_official.py',
    marker=r'image_model\.',
    rules=[
        *image_encoder('image_model'),
        (r'^image_model\.layers\.(\d+)\.fusions\.(\d+)\.', r'neck.stages.\1.pyramid.\2.attention.'),
        *[
            (rf'^image_model\.layers\.(\d+)\.pyramids\.(\d+)\.{theirs}\.', rf'neck.stages.\1.pyramid.\2.reduce.{ours}.')
            for theirs, ours in ((1, 0), (2, 1), (3, 2), (5, 4))
        ],
        (r'^image_model\.layers\.(\d+)\.mixer\.', r'neck.stages.\1.mixer.'),
        # the text side is kept in the text encoder; its `vis_project` reads words
        (r'^language_model\.pwams\.(\d+)\.vis_project\.0\.', r'neck.stages.\1.text_attention.text.'),
        (r'^language_model\.pwams\.(\d+)\.', r'neck.stages.\1.text_attention.'),
        (r'^language_model\.res_gates\.(\d+)\.', r'neck.stages.\1.text_gate.'),
        *WORD_ATTENTION,
        *GATE,
        (r'^language_model\.encoder\.layer\.', 'text_encoder.layers.'),
        (r'^language_model\.', 'text_encoder.'),
        *DECODER,
        (r'^lang_proj\.', 'auxiliary_head.1.word_proj.'),
    ],
    # what follows the last stage feeds no mask
    unused=(
        rf'image_model\.({SWIN_UNUSED}|norm[0-3]\.(weight|bias)|layers\.3\.res_gate\.[02]\.weight)'
        rf'|language_model\.({BERT_UNUSED}|norms\.[0-3]\.(weight|bias)|pwams\.3\..*|res_gates\.3\.[02]\.weight)'
        r'|lang_proj\.(weight|bias)'
    ),
    resize=resize,
    arrays=arrays,
    tolerance=1e-4,
)
