"""ReLA's released checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmmagnet.models.decode_heads.rela_head import minimap_target

from .converter import Converter, Rules, resize_model, taps
from .filling import make_boxes, make_inputs, make_weight
from .lavt import BERT_UNUSED, GATE, SWIN, SWIN_UNUSED, WORD_ATTENTION, image_encoder

LAMBDA = 'sem_seg_head.predictor.lang_weight'
"""The factor of the words' update. The released evaluation never loads it and runs with 0."""

HEAD_SIZES = (
    'feat_channels',
    'num_queries',
    'pixel_decoder_layers',
    'pixel_decoder_ffn',
    'decoder_layers',
    'decoder_ffn',
    'num_groups',
    'region_weight',
)

HEAD: Rules = [
    (r'^sem_seg_head\.pixel_decoder\.input_proj\.', 'decode_head.pixel_decoder.projections.'),
    (r'^sem_seg_head\.pixel_decoder\.transformer\.level_embed', 'decode_head.pixel_decoder.level_embed'),
    (r'^sem_seg_head\.pixel_decoder\.transformer\.encoder\.layers\.', 'decode_head.pixel_decoder.layers.'),
    (r'^(decode_head\.pixel_decoder\.layers\.\d+)\.self_attn\.', r'\1.attention.'),
    (r'^sem_seg_head\.pixel_decoder\.adapter_1\.norm\.', 'decode_head.pixel_decoder.finest.lateral.gn.'),
    (r'^sem_seg_head\.pixel_decoder\.adapter_1\.', 'decode_head.pixel_decoder.finest.lateral.conv.'),
    (r'^sem_seg_head\.pixel_decoder\.layer_1\.norm\.', 'decode_head.pixel_decoder.finest.output.gn.'),
    (r'^sem_seg_head\.pixel_decoder\.layer_1\.', 'decode_head.pixel_decoder.finest.output.conv.'),
    (r'^sem_seg_head\.pixel_decoder\.', 'decode_head.pixel_decoder.'),
    (r'^sem_seg_head\.predictor\.', 'decode_head.region_decoder.'),
    (r'\.RIA_layers\.(\d+)\.multihead_attn\.', r'.layers.\1.cross_attention.'),
    (r'\.RIA_layers\.(\d+)\.norm\.', r'.layers.\1.cross_norm.'),
    (r'\.RLA_vision\.(\d+)\.self_attn\.', r'.layers.\1.self_attention.'),
    (r'\.RLA_vision\.(\d+)\.norm\.', r'.layers.\1.self_norm.'),
    (r'\.transformer_ffn_layers\.(\d+)\.norm\.', r'.layers.\1.ffn_norm.'),
    (r'\.transformer_ffn_layers\.(\d+)\.', r'.layers.\1.'),
    (r'\.decoder_norm\.', '.norm.'),
    (r'(region_decoder)\.(query_feat|query_embed|level_embed)\.weight$', r'\1.\2'),
    (r'\.minimap_embed\.', '.class_embed.'),
    (r'\.mask_embed\.layers\.0\.', '.mask_embed.0.'),
    (r'\.mask_embed\.layers\.1\.', '.mask_embed.2.'),
    (r'\.mask_embed\.layers\.2\.', '.mask_embed.4.'),
    (r'\.nt_embed\.layers\.0\.', '.no_target_embed.0.'),
    (r'\.nt_embed\.layers\.1\.', '.no_target_embed.2.'),
    (r'\.lang_proj\.', '.word_proj.'),
    (r'\.lang_weight$', '.word_weight'),
    (r'\.RLA_lang_att\.multihead_attn\.', '.word_attention.'),
    (r'\.RLA_lang_att\.norm\.', '.word_norm.'),
]

GRADIENTS = {
    'lang_weight': ('decode_head.region_decoder.word_weight', lambda grad, step: grad[None]),
    'minimap_embed': ('decode_head.region_decoder.class_embed.weight', lambda grad, step: grad),
    'nt_embed': ('decode_head.region_decoder.no_target_embed.2.weight', lambda grad, step: grad),
    'query_feat': ('decode_head.region_decoder.query_feat', lambda grad, step: grad[::10, ::step]),
    'lang_proj': ('decode_head.region_decoder.word_proj.weight', lambda grad, step: grad[::step, ::48]),
    'adapter': ('decode_head.pixel_decoder.finest.lateral.conv.weight', lambda grad, step: grad[::step, :, 0, 0]),
    'patch_norm': ('backbone.patch_embed.norm.weight', lambda grad, step: grad),
    'gate': ('neck.stages.0.gate.outer.weight', lambda grad, step: grad[::4, ::4]),
    'words': ('text_encoder.embeddings.LayerNorm.weight', lambda grad, step: grad[::16]),
}


def prepare(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released entries as the released evaluation runs them: without `LAMBDA`."""
    return {name: torch.zeros_like(value) if name == LAMBDA else value for name, value in entries.items()}


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """ReLA at other sizes."""
    resized = resize_model(model, sizes, {'backbone': SWIN, 'decode_head': HEAD_SIZES})
    head = {'num_points': sizes['pixel_decoder_points'], 'num_heads': sizes['decoder_heads']}
    return {**resized, 'decode_head': {**resized['decode_head'], **head}}


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of ReLA expects, in float64: the release's fp32 is off by up to 1e-4."""
    model.double().requires_grad_(True)  # whatever the recipe freezes
    head, decoder = model.decode_head, model.decode_head.region_decoder
    image, input_ids, word_mask = make_inputs(settings)
    watched = {
        'pixels': head.pixel_decoder,
        'lateral': head.pixel_decoder.finest.lateral,
        'first_cross': decoder.layers[0].cross_norm,
        'words': decoder.word_proj,
        'language': decoder.word_norm,
        'embed': decoder.mask_embed,
        **{f'regions_{index}': layer.ffn_norm for index, layer in enumerate(decoder.layers)},
    }
    model.zero_grad()
    with taps(watched) as seen:
        features = model.extract_feat(image.double(), input_ids, word_mask)
        decoded = head(features)
    step = head.feat_channels // 8
    mask_features, scales = seen['pixels'][0]
    embeds = seen['embed']
    masks = [torch.einsum('bqe,behw->bqhw', embed, mask_features) for embed in embeds]
    sizes = [tuple(scales[index % 3].shape[2:]) for index in range(len(decoder.layers))]
    hidden = [  # the same for all heads
        decoder._hidden(mask, size).unflatten(0, (len(input_ids), -1))[:, 0]
        for mask, size in zip(masks, sizes, strict=False)
    ]
    regions = [seen[f'regions_{index}'][0] for index in range(len(decoder.layers))]
    first = decoder.query_feat.expand(len(input_ids), -1, -1)
    boxes = [
        [(slice(top, bottom), slice(left, right)) for top, bottom, left, right in part] for part in settings['targets']
    ]
    gt_masks = make_boxes(settings, boxes)
    found = {
        **{f'fused_s{stage}': fused[:, :16] for stage, fused in enumerate(features.maps, start=1)},
        **{f'scale_s{4 - index}': scale[:, ::step] for index, scale in enumerate(scales)},
        'text_features': features.words[:, :, ::16],
        'lateral': seen['lateral'][0][:, :: 2 * step],
        'mask_features': mask_features[:, ::step],
        'regions_first_cross': seen['first_cross'][0][:, :, ::step],
        'text_proj': seen['words'][0][:, :, ::step],
        'language': seen['language'][0][:, :, ::step],
        'attended': torch.stack([(~part).sum(-1) for part in hidden]),
        'regions': torch.stack(regions)[..., ::step],
        'minimaps': torch.stack([decoder.class_embed(decoder.norm(part)) for part in (first, *regions)]),
        'region_embed': embeds[-1][:, :, ::step],
        'all_masks': masks[-1][:, ::20],
        'full_masks': head.resize(decoded.logits, image.shape[2:])[:, :, ::4, ::4],
        'minimap_target': minimap_target(gt_masks, head.side),
        'loss_terms': loss_terms(head, decoded, gt_masks),
        **predictions(decoded),
    }
    soft = loss_terms(head, replace(decoded, logits=0.01 * decoded.logits), gt_masks)
    soft[3].backward()
    found['loss_terms_soft'] = soft
    weights = dict(model.named_parameters())
    for name, (entry, select) in GRADIENTS.items():
        found[f'grad_{name}'] = select(weights[entry].grad, step)
    with torch.no_grad(), taps({'regions': decoder.layers[0].ffn_norm}) as seen:
        decoder.word_weight.fill_(float(make_weight(LAMBDA, ())))
        weighted = head(features)
    found['regions_1_lang_weight'] = seen['regions'][0][:, :, ::step]
    found |= {f'{name}_lang_weight': value for name, value in predictions(weighted).items()}
    return {name: value.detach() for name, value in found.items()}


def predictions(decoded: Any) -> dict[str, Tensor]:
    """The three outputs of the region decoder."""
    prediction = decoded.prediction
    return {'pred_masks': prediction.masks, 'minimap': prediction.minimap, 'nt_label': prediction.no_target}


def loss_terms(head: Any, decoded: Any, gt_masks: Tensor) -> Tensor:
    """Cross-entropies of masks, minimap and target without their weights, and the total."""
    losses = head.loss_by_feat(decoded, gt_masks)
    terms = [losses['loss_ce'], losses['loss_minimap'], losses['loss_target']]
    weights = [
        head.loss_weight,
        head.loss_weight * head.minimap_loss_weight,
        head.loss_weight * head.target_loss_weight,
    ]
    return torch.stack([*(term / weight for term, weight in zip(terms, weights, strict=True)), sum(terms)])


RELA = Converter(
    kind='rela',
    config='rela/rela_swin_b_official.py',
    marker=r'sem_seg_head\.predictor\.RIA_layers\.',
    rules=[
        *image_encoder('backbone'),
        *WORD_ATTENTION,
        *GATE,
        (r'^backbone\.norm([0-3])\.', r'neck.stages.\1.mixer.'),
        (r'^text_encoder\.encoder\.layer\.', 'text_encoder.layers.'),
        *HEAD,
    ],
    unused=rf'backbone\.{SWIN_UNUSED}|text_encoder\.{BERT_UNUSED}',
    resize=resize,
    arrays=arrays,
    tolerance=1e-5,
    absent=r'neck\.stages\.3\.gate\.',
    prepare=prepare,
)
