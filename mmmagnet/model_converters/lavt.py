"""LAVT's released checkpoints, and the names that networks built on it share."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmmagnet.utils.errors import CheckpointError

from .converter import Converter, Rules, resize_model, watch

SWIN = ('embed_dims', 'depths', 'num_heads', 'window_size')
"""Sizes of the image encoder."""

BERT_UNUSED = r'(embeddings\.position_ids|pooler\.dense\.(weight|bias))'
SWIN_UNUSED = r'layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.relative_position_index)'

WORD_ATTENTION: Rules = [
    (r'(attention)\.vis_project\.0\.', r'\1.image.'),
    (r'(attention)\.project_mm\.0\.', r'\1.fuse.'),
    (r'(attention)\.image_lang_att\.f_(query|key|value)\.0\.', r'\1.\2.'),
    (r'(attention)\.image_lang_att\.f_query\.1\.', r'\1.query_norm.'),
    (r'(attention)\.image_lang_att\.W\.0\.', r'\1.out.'),
    (r'(attention)\.image_lang_att\.W\.1\.', r'\1.out_norm.'),
]
GATE: Rules = [(r'(neck\..*gate)\.0\.', r'\1.inner.'), (r'(neck\..*gate)\.2\.', r'\1.outer.')]


def image_encoder(name: str) -> Rules:
    """Swin and its alignment modules, which the releases keep in one module called `name`."""
    return [
        (rf'^{name}\.layers\.(\d+)\.blocks\.(\d+)\.', r'backbone.stages.\1.\2.'),
        (r'\.mlp\.fc1\.', '.mlp.0.'),
        (r'\.mlp\.fc2\.', '.mlp.2.'),
        (rf'^{name}\.layers\.(\d+)\.downsample\.', r'backbone.downsamples.\1.'),
        (rf'^{name}\.patch_embed\.', 'backbone.patch_embed.'),
        (rf'^{name}\.layers\.(\d+)\.fusion\.', r'neck.stages.\1.attention.'),
        (rf'^{name}\.layers\.(\d+)\.res_gate\.', r'neck.stages.\1.gate.'),
    ]


def resize(model: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """LAVT at other sizes."""
    return resize_model(model, sizes, {'backbone': SWIN})


def apply_options(model: dict[str, Any], options: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Heads of the word attention in each stage, which the training option ``mha`` states as a-b-c-d."""
    if not options.get('mha'):
        return model
    given = options['mha']
    heads = given.split('-') if isinstance(given, str) else []
    if len(heads) != 4 or not all(part.isdecimal() and int(part) > 0 for part in heads):
        raise CheckpointError(f'{source}: args.mha is {reprlib.repr(given)}, expected four numbers of heads a-b-c-d')
    return {**model, 'neck': {**model['neck'], 'num_heads': [int(part) for part in heads]}}


def arrays(model: Any, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a parity case of LAVT expects."""
    maps, words, decoded = watch(model, settings)
    fused = {f'fused_s{stage}': fused[:, :16] for stage, fused in enumerate(maps, start=1)}
    return {**fused, 'text_features': words[:, :, ::16], 'logits': decoded.logits}


LAVT = Converter(
    kind='lavt',
    config='lavt_swin_b.py',
    marker=r'classifier\.(conv|bn)\d_\d\.',
    rules=[
        *image_encoder('backbone'),
        *WORD_ATTENTION,
        *GATE,
        (r'^backbone\.norm([0-3])\.', r'neck.stages.\1.mixer.'),
        (r'^text_encoder\.encoder\.layer\.', 'text_encoder.layers.'),
        # the decoder counts from the coarsest map, 4, down
        *[
            (rf'^classifier\.(conv|bn){conv}_{4 - scale}\.', rf'decode_head.scales.{scale}.{conv - 1}.\1.')
            for scale in range(3)
            for conv in (1, 2)
        ],
        (r'^classifier\.conv1_1\.', 'decode_head.classify.'),
    ],
    unused=rf'backbone\.{SWIN_UNUSED}|text_encoder\.{BERT_UNUSED}',
    resize=resize,
    arrays=arrays,
    tolerance=5e-4,  # InstanceNorm amplifies rounding
    apply_options=apply_options,
)
