"""Sizes of a released network, read off its entries, and the model config they make."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmmagnet.utils.checkpoint import CheckpointError

# what an arch_*.json may state
SIZES = (
    'embed_dims',
    'depths',
    'num_heads',
    'window_size',
    'bert',
    'text_stage_ends',
    'pixel_decoder_layers',
    'decoder_layers',
    'num_queries',
    'num_classes',
)


def architecture(entries: Mapping[str, Tensor], kind: str, source: str | Path = 'checkpoint') -> dict[str, Any]:
    """Sizes of a released network.

    Shapes do not show BERT's heads: they are 64 wide.

    Args:
        entries: By released names.
        kind: ``'magnet'`` or ``'lavt'``.
        source: For messages.

    Returns:
        What an ``arch_*.json`` of the parity cases states. Each size is what most entries that show it say, so that
        one damaged entry is found by its own name later.

    Raises:
        CheckpointError: If no entry shows a size.
    """
    tower, text = {'magnet': ('image_model', 'language_model'), 'lavt': ('backbone', 'text_encoder')}[kind]

    def most(pattern: str, size: Callable[[Tensor], int]) -> int:
        expression = re.compile(pattern)
        votes = Counter(size(value) for name, value in entries.items() if expression.fullmatch(name) and value.dim())
        if not votes:
            raise CheckpointError(f'{source}: has no entry {pattern}: the file is not whole, get it again')
        return votes.most_common(1)[0][0]

    def count(pattern: str) -> int:
        expression = re.compile(pattern + r'(\d+)\..*')
        found = {int(match[1]) for match in map(expression.fullmatch, entries) if match}
        if not found:
            raise CheckpointError(f'{source}: has no entry {pattern}*: the file is not whole, get it again')
        return max(found) + 1

    stages = range(count(rf'{tower}\.layers\.'))
    table = r'attn\.relative_position_bias_table'
    window = most(rf'{tower}\..*{table}', lambda value: (round(value.shape[0] ** 0.5) + 1) // 2)
    layers = count(rf'{text}\.encoder\.layer\.')
    width = most(rf'{text}\..*LayerNorm\.weight', lambda value: value.shape[0])
    sizes: dict[str, Any] = {
        'embed_dims': most(rf'{tower}\.layers\.0\.blocks\.\d+\.norm\d\.weight', lambda value: value.shape[0]),
        'depths': [count(rf'{tower}\.layers\.{stage}\.blocks\.') for stage in stages],
        'num_heads': [
            most(rf'{tower}\.layers\.{stage}\.blocks\.\d+\.{table}', lambda value: value.shape[-1]) for stage in stages
        ],
        'window_size': window,
        'bert': {
            'hidden_size': width,
            'num_hidden_layers': layers,
            'num_attention_heads': max(1, width // 64),
            'intermediate_size': most(rf'{text}\.encoder\..*\.intermediate\.dense\.bias', lambda value: value.shape[0]),
            'vocab_size': most(rf'{text}\.embeddings\.word_embeddings\.weight', lambda value: value.shape[0]),
        },
    }
    if kind == 'magnet':
        sizes['pixel_decoder_layers'] = count(r'classifier\.pixel_decoder\.transformer\.encoder\.layers\.')
        sizes['decoder_layers'] = count(r'classifier\.predictor\.transformer_ffn_layers\.')
    return sizes


def model_config(
    published: dict[str, Any], sizes: Mapping[str, Any], kind: str, source: str | Path = 'sizes'
) -> dict[str, Any]:
    """A published model's config at other sizes.

    Args:
        published: `model` of ``configs/magnet_swin_b_official.py`` or ``configs/lavt_swin_b.py``.
        sizes: Of `architecture` or of an ``arch_*.json``. Where it leaves out ``text_stage_ends``, BERT's layers end
            the stages in quarters (MagNet) or all run before the first bridge (LAVT), as released.
        kind: ``'magnet'`` or ``'lavt'``.
        source: For messages.

    Raises:
        CheckpointError: If `sizes` states what our networks do not have.
    """
    unknown = [name for name in sizes if name not in SIZES]
    if unknown or sizes.get('num_queries', 1) != 1:
        raise CheckpointError(f'{source}: {unknown[0] if unknown else "num_queries over 1"} is not among our sizes')
    tower = {name: sizes[name] for name in ('embed_dims', 'depths', 'num_heads', 'window_size') if name in sizes}
    text = dict(published['text_encoder'])
    if 'bert' in sizes:
        text['config'] = {'model_type': 'bert', **sizes['bert']}
        layers = text['config'].get('num_hidden_layers', 12)
        quarters = [layers * stage // 4 for stage in (1, 2, 3, 4)]
        text['stage_ends'] = sizes.get('text_stage_ends', quarters if kind == 'magnet' else [layers] * 4)
    head = dict(published['decode_head'])
    for name in ('pixel_decoder_layers', 'decoder_layers'):
        if name in sizes:
            head[name] = sizes[name]
    return {**published, 'backbone': {**published['backbone'], **tower}, 'text_encoder': text, 'decode_head': head}
