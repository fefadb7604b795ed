"""DETRIS's released checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmmagnet.models.clip_checkpoint import text_rules, unstack, unstack_text

from . import cris
from .converter import Converter, taps
from .filling import noise_of

TABLES = ('positional_embedding', 'token_embedding.weight', 'pos_embed', 'cls_token', 'register_tokens')

BACKBONE_SIZES = {
    'vit_dim': 'embed_dims',
    'vit_depth': 'depth',
    'vit_heads': 'num_heads',
    'patch_size': 'patch_size',
    'pretrain_resolution': 'pretrain_size',
    'register_tokens': 'num_registers',
    'visual_adapter_dim': 'adapter_width',
    'visual_adapter_layers': 'adapter_blocks',
    'output_layers': 'out_blocks',
    'adapter_embed_dim': 'adapter_cross_width',
    'adapter_heads': 'adapter_heads',
}
ADAPTER_SIZES = {'text_adapter_dim': 'adapter_width', 'text_adapter_layers': 'adapter_layers'}

GATE = re.compile(r'(neck\.fusion\d\.multihead_attn\.)in_proj_(weight|bias)')


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """Value of a released entry in the parity cases."""
    if name.endswith('.gamma'):
        return 1 + 0.1 * noise_of(name, shape)
    return cris.weight(name, shape, tables=TABLES, convolutions=(3, 4))


def prepare(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Released entries with stacked q, k and v apart, and the transposed convolution as a plain one."""
    apart = unstack(unstack_text(entries), GATE)
    name = 'neck.f5_proj.0.weight'
    if name in apart and apart[name].dim() == 4:
        apart[name] = apart[name].transpose(0, 1)
    return apart


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """DETRIS at other sizes. The heads of the gates have no effect, as each reads a single token."""
    return {
        **model,
        'backbone': {**model['backbone'], **cris.take(sizes, BACKBONE_SIZES)},
        'text_encoder': {**cris.resize_text(model, sizes), **cris.take(sizes, ADAPTER_SIZES)},
        'neck': {**model['neck'], 'width': sizes['vis_dim']},
        'decode_head': {**model['decode_head'], **cris.take(sizes, cris.HEAD_SIZES)},
    }


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of DETRIS expects."""
    neck = model.neck
    adapter = next(block.adapter for block in model.backbone.blocks if block.adapter is not None)
    watched = {
        'maps': model.backbone,
        'text_adapter': next(iter(model.text_encoder.adapters.values())),
        'visual_dense': adapter.dense,
        'visual_cross': adapter.back_proj,
        'visual_adapter': adapter,
        'aggregated': neck.aggregate,
        **{f'projection{index}': module for index, module in enumerate(neck.projections, start=3)},
        **{f'gate{index}': module for index, module in enumerate(neck.gates, start=3)},
    }
    step = 8 if neck.out_channels[0] >= 300 else 4
    with taps(watched) as seen:
        features, found = cris.head_arrays(model, settings, step)
    if step == 8:
        found['state'] = found['state'][:, ::2]
    gated = {
        f'gated{index}': seen[f'projection{index}'][0] * seen[f'gate{index}'][0][..., None, None] for index in (3, 4, 5)
    }
    return {
        **{f'v{index}': image[:, ::8] for index, image in enumerate(seen['maps'][0], start=3)},
        'words': features.words[:, :, ::step],
        'text_adapter': seen['text_adapter'][0][:, :, :: 2 * step],
        'visual_dense': seen['visual_dense'][0].flatten(2).transpose(1, 2)[:, :, ::4],
        'visual_cross': seen['visual_cross'][0][:, :, ::4],
        'visual_adapter': seen['visual_adapter'][0][:, :, ::8],
        **{name: image[:, :: 2 * step] for name, image in gated.items()},
        'aggregated': seen['aggregated'][0][:, :: 2 * step],
        **found,
        **cris.training_arrays(model, settings, DETRIS.rename),
    }


DETRIS = Converter(
    kind='detris',
    config='detris/detris_vitb_refcoco.py',
    marker=r'dinov2\.',
    rules=[
        (r'^txt_backbone\.transformer\.resblocks\.(\d+)\.adapter\.', r'text_encoder.adapters.\1.'),
        (r'^dinov2\.', 'backbone.'),
        (r'(adapters?(?:\.\d+)?)\.D_fc1\.', r'\1.down.'),
        (r'(adapters?(?:\.\d+)?)\.D_fc2\.', r'\1.up.'),
        (r'(adapters?(?:\.\d+)?)\.dense_', r'\1.dense.'),
        (r'\.adapter\.cross\.multihead_attn\.', '.adapter.cross_attention.'),
        (r'\.adapter\.cross\.', '.adapter.'),
        *text_rules(r'txt_backbone\.', 'text_encoder.'),
        *cris.NECK,
        *((rf'^neck\.f{index}_proj\.', f'neck.projections.{index - 3}.') for index in (3, 4, 5)),
        *((rf'^neck\.fusion{index}\.multihead_attn\.v_proj\.', f'neck.gates.{index - 3}.0.') for index in (3, 4, 5)),
        *((rf'^neck\.fusion{index}\.multihead_attn\.out_proj\.', f'neck.gates.{index - 3}.1.') for index in (3, 4, 5)),
        *cris.HEAD,
    ],
    unused=r'txt_backbone\.logit_scale|dinov2\.mask_token|neck\.fusion\d\.multihead_attn\.[qk]_proj\.(weight|bias)',
    resize=resize,
    arrays=arrays,
    tolerance=3e-5,
    tolerances={
        'train_logits': 5e-5,
        'train_loss': 1e-5,
        'train_grad_norms': 3e-3,
        'train_running': 1e-5,
        'loss': 1e-5,
    },
    each='train_grad_norms',
    absent=r'text_encoder\.mask_embedding',
    prepare=prepare,
    weight=weight,
)
