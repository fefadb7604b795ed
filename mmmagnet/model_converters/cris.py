"""CRIS's released checkpoints, and what DETRIS's share with them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.models.clip_checkpoint import image_rules, text_rules, unstack_text
from mmmagnet.models.decode_heads.cris_head import soft_target

from .converter import Converter, Rules, taps
from .filling import make_weight, noise_of

TEXT_SIZES = {
    'text_width': 'hidden_size',
    'text_layers': 'num_hidden_layers',
    'context_length': 'max_position_embeddings',
    'vocab_size': 'vocab_size',
}
"""Size -> keyword of transformers' `CLIPTextConfig`."""

HEAD_SIZES = {'num_layers': 'num_layers', 'num_head': 'num_heads', 'dim_ffn': 'ffn_width'}
BACKBONE_SIZES = {
    'width': 'width',
    'layers': 'depths',
    'embed_dim': 'embed_dims',
    'pretrain_resolution': 'pretrain_size',
}

HEAD: Rules = [
    (r'^decoder\.', 'decode_head.decoder.'),
    (r'^(decode_head\.decoder\.layers\.\d+)\.self_attn\.', r'\1.self_attention.'),
    (r'^(decode_head\.decoder\.layers\.\d+)\.multihead_attn\.', r'\1.cross_attention.'),
    (r'^(decode_head\.decoder\.layers\.\d+)\.(self|cross)_attn_norm\.', r'\1.\2_norm.'),
    (r'^proj\.vis\.', 'decode_head.project.'),
    (r'^proj\.txt\.', 'decode_head.kernel.'),
]
NECK: Rules = [
    (r'^neck\.coordconv\.0\.conv1\.', 'neck.place.0.'),
    (r'^neck\.coordconv\.1\.', 'neck.place.1.'),
    (r'^neck\.aggr\.', 'neck.aggregate.'),
    (r'^neck\.txt_proj\.', 'neck.sentence_proj.'),
]


def weight(
    name: str,
    shape: Sequence[int],
    tables: tuple[str, ...] = ('positional_embedding', 'token_embedding.weight'),
    convolutions: tuple[int, ...] = (4,),
) -> np.ndarray:
    """Value of a released entry in the parity cases; `convolutions` are the numbers of sides that theirs have."""
    if name.endswith(tables):
        return 0.5 * noise_of(name, shape)
    if len(shape) in convolutions:
        return noise_of(name, shape) / math.sqrt(math.prod(shape[1:]) / 2)
    return make_weight(name, shape)


def make_inputs(settings: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image (B, 3, H, W), input_ids and word_mask (B, L) with start and end tokens, soft target (B, 1, H, W)."""
    random = np.random.RandomState(settings['seed'])
    batch, length, vocabulary = settings['batch'], settings['tokens'], settings['vocab_size']
    size = (settings['height'], settings['width'])
    image = random.standard_normal((batch, 3, *size)).astype(np.float32)
    ids = random.randint(1, vocabulary - 2, size=(batch, length)).astype(np.int64)
    ids[:, 0] = vocabulary - 2
    for row, words in zip(ids, settings['valid_tokens'], strict=True):
        row[words - 1] = vocabulary - 1
        row[words:] = 0
    target = np.clip(5 * random.random_sample((batch, 1, *size)).astype(np.float32) - 2, 0, 1)
    return tuple(torch.from_numpy(array) for array in (image, ids, (ids != 0).astype(np.int64), target))  # type: ignore[return-value]


def take(sizes: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Sizes by our names."""
    return {ours: sizes[name] for name, ours in names.items() if name in sizes}


def resize_text(model: Mapping[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the text encoder at other sizes."""
    width = sizes['text_width']
    config = {**take(sizes, TEXT_SIZES), 'intermediate_size': 4 * width, 'num_attention_heads': max(1, width // 64)}
    changed = {'config': config, 'stage_ends': (sizes['text_layers'],), 'sentence_channels': sizes['embed_dim']}
    return {**model['text_encoder'], **changed}


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """CRIS at other sizes."""
    return {
        **model,
        'backbone': {**model['backbone'], **take(sizes, BACKBONE_SIZES)},
        'text_encoder': resize_text(model, sizes),
        'neck': {**model['neck'], 'widths': sizes['fpn_out']},
        'decode_head': {**model['decode_head'], **take(sizes, HEAD_SIZES)},
    }


def head_arrays(model: Any, settings: Mapping[str, Any], step: int) -> tuple[Any, dict[str, Tensor]]:
    """Features of a case, and its arrays from the neck's result to the loss, every `step`-th channel of maps."""
    head = model.decode_head
    image, input_ids, word_mask, gt_masks = make_inputs(settings)
    with (
        torch.no_grad(),
        taps({'layer': head.decoder.layers[0], 'decoder': head.decoder, 'kernel': head.kernel}) as seen,
    ):
        features = model.extract_feat(image, input_ids, word_mask)
        decoded = head(features)
        fused = features.maps[-1]
        layer = seen['layer'][0].transpose(1, 2).view_as(fused)
        return features, {
            'state': features.sentence,
            'fq': fused[:, ::step],
            'decoder_layer0': layer[:, :: 2 * step],
            'decoder': seen['decoder'][0][:, ::step],
            'projected': decoded.mask_features[:, :: 4 * step],
            'kernel': seen['kernel'][0][:, ::step],
            'logits': decoded.logits,
            'target': soft_target(gt_masks, decoded.logits.shape[2:]),
            'loss': head.loss_by_feat(decoded, gt_masks)['loss_bce'][None],
        }


def training_arrays(model: Any, settings: Mapping[str, Any], rename: Callable[[str], str]) -> dict[str, Tensor]:
    """Loss, gradients and running statistics of one step without dropout; none of a case without ``grad_names``."""
    if 'grad_names' not in settings:
        return {}
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    image, input_ids, word_mask, gt_masks = make_inputs(settings)
    model.zero_grad()
    decoded = model.decode_head(model.extract_feat(image, input_ids, word_mask))
    loss = model.decode_head.loss_by_feat(decoded, gt_masks)['loss_bce']
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    norms = []
    for name in settings['grad_names']:
        parts = [name, *(re.sub(r'in_proj_(\w+)$', rf'{part}_proj.\1', name) for part in 'qkv')]
        found = {ours: gradients[ours] for ours in map(rename, parts) if ours in gradients}
        norms.append(torch.stack([gradient.norm() for gradient in found.values()]).norm())
    statistics = {}
    for name in settings['arrays']:
        if running := re.fullmatch(r'train_(running_(?:mean|var)):(.+)', name):
            statistics[name] = model.get_buffer(rename(f'{running[2]}.{running[1]}'))
    return {
        'train_logits': decoded.logits,
        'train_loss': loss[None],
        'train_grad_norms': torch.stack(norms),
        **statistics,
    }


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of CRIS expects."""
    neck = model.neck
    watched = {'maps': model.backbone, 'gate': neck.gate_norm, 'middle': neck.middle_mix, 'fine': neck.fine_mix}
    with taps(watched) as seen:
        features, found = head_arrays(model, settings, step=4)
    maps = seen['maps'][0]
    return {
        'c3': maps[0][:, ::8],
        'c4': maps[1][:, ::8],
        'c5': maps[2][:, ::4],
        'words': (features.words * features.word_mask[:, :, None])[:, :, ::4],
        'f5': F.relu(seen['gate'][0])[:, ::8],
        'f4': seen['middle'][0][:, ::8],
        'f3': seen['fine'][0][:, ::8],
        **found,
        **training_arrays(model, settings, CRIS.rename),
    }


CRIS = Converter(
    kind='cris',
    config='cris/cris_r50_refcoco.py',
    marker=r'backbone\.visual\.attnpool\.connect\.',
    rules=[
        *image_rules(r'backbone\.visual\.', 'backbone.'),
        *text_rules(r'backbone\.', 'text_encoder.'),
        *NECK,
        (r'^neck\.f1_v_proj\.', 'neck.coarse_proj.'),
        (r'^neck\.norm_layer\.0\.', 'neck.gate_norm.'),
        (r'^neck\.f2_v_proj\.', 'neck.middle_proj.'),
        (r'^neck\.f2_cat\.', 'neck.middle_mix.'),
        (r'^neck\.f3_v_proj\.', 'neck.fine_proj.'),
        (r'^neck\.f3_cat\.', 'neck.fine_mix.'),
        (r'^neck\.f4_proj3\.', 'neck.fine_out.'),
        (r'^neck\.f4_proj4\.', 'neck.middle_out.'),
        (r'^neck\.f4_proj5\.', 'neck.coarse_out.'),
        *HEAD,
    ],
    unused=r'backbone\.(logit_scale|input_resolution|context_length|vocab_size)',
    resize=resize,
    arrays=arrays,
    tolerance=3e-5,
    tolerances={
        'train_logits': 1e-3,
        'train_loss': 1e-4,
        'train_grad_norms': 3e-2,
        'train_running': 1e-5,
        'loss': 1e-5,
    },
    each='train_grad_norms',
    absent=r'text_encoder\.mask_embedding',
    prepare=unstack_text,
    weight=weight,
)
