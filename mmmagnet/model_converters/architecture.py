"""Sizes of a released network, read off its entries, and the model config they make."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import CheckpointError

from .names import released_name

TOWERS = {'magnet': ('image_model', 'language_model'), 'lavt': ('backbone', 'text_encoder')}
NUMBERS = ('embed_dims', 'window_size', 'pixel_decoder_layers', 'decoder_layers', 'num_queries', 'num_classes')
STAGES = ('depths', 'num_heads', 'text_stage_ends')
# one query, and the classes of the released heads: no size of ours
FIXED = {'magnet': {'num_queries': 1, 'num_classes': 1}, 'lavt': {'num_classes': 2}}
LARGEST = 1 << 20


def architecture(entries: Mapping[str, Tensor], kind: str, source: str | Path = 'checkpoint') -> dict[str, Any]:
    """Sizes of a released network.

    Shapes do not show BERT's heads: they are 64 wide.

    Args:
        entries: By released names.
        kind: ``'magnet'`` or ``'lavt'``.
        source: For messages.

    Returns:
        What an ``arch_*.json`` of the parity cases states. Each size is what most entries that show it say, and a layer
        counts if at least half of its entries are there, so that one damaged entry is found by its own name later.

    Raises:
        CheckpointError: If no entry shows a size.
    """
    encoder, text = TOWERS[kind]

    def lacks(example: str) -> CheckpointError:
        return CheckpointError(f'{source}: lacks {example}: the file is not whole, get it again')

    def most(pattern: str, example: str, size: Callable[[Tensor], int]) -> int:
        expression = re.compile(pattern)
        votes = Counter(size(value) for name, value in entries.items() if expression.fullmatch(name) and value.dim())
        del votes[0]
        if not votes:
            raise lacks(example)
        return votes.most_common(1)[0][0]

    def count(prefix: str) -> int:
        expression = re.compile(re.escape(prefix) + r'\.(\d{1,6})\..*')
        found = Counter(int(match[1]) for match in map(expression.fullmatch, entries) if match)
        if not found:
            raise lacks(f'{prefix}.0.*')
        return max(layer for layer, number in found.items() if 2 * number >= max(found.values())) + 1

    def heads(stage: int) -> int:
        table = 'attn.relative_position_bias_table'
        pattern = rf'{encoder}\.layers\.{stage}\.blocks\.\d+\.{re.escape(table)}'
        return most(
            pattern,
            f'{encoder}.layers.{stage}.blocks.0.{table}',
            lambda value: value.shape[1] if value.dim() == 2 else 0,
        )

    width = most(rf'{text}\..*LayerNorm\.(weight|bias)', f'{text}.embeddings.LayerNorm.weight', len)
    sizes: dict[str, Any] = {
        'embed_dims': most(
            rf'{encoder}\.(patch_embed|layers\.0\.blocks\.\d+)\.norm\d?\.(weight|bias)',
            f'{encoder}.patch_embed.norm.weight',
            len,
        ),
        'depths': [count(f'{encoder}.layers.{stage}.blocks') for stage in range(4)],
        'num_heads': [heads(stage) for stage in range(4)],
        'window_size': most(
            rf'{encoder}\..*\.relative_position_bias_table',
            f'{encoder}.layers.0.blocks.0.attn.relative_position_bias_table',
            lambda value: (round(len(value) ** 0.5) + 1) // 2,
        ),
        'bert': {
            'hidden_size': width,
            'num_hidden_layers': count(f'{text}.encoder.layer'),
            'num_attention_heads': max(1, width // 64),
            'intermediate_size': most(
                rf'{text}\.encoder\..*\.intermediate\.dense\.bias',
                f'{text}.encoder.layer.0.intermediate.dense.bias',
                len,
            ),
            'vocab_size': most(
                rf'{text}\.embeddings\.word_embeddings\.weight', f'{text}.embeddings.word_embeddings.weight', len
            ),
        },
    }
    if kind == 'magnet':
        sizes['pixel_decoder_layers'] = count('classifier.pixel_decoder.transformer.encoder.layers')
        sizes['decoder_layers'] = count('classifier.predictor.transformer_ffn_layers')
    return sizes


def model_config(
    published: dict[str, Any], sizes: Mapping[str, Any], kind: str, source: str | Path = 'sizes'
) -> dict[str, Any]:
    """A published model's config at other sizes.

    Args:
        published: `model` of ``configs/magnet_swin_b_official.py`` or ``configs/lavt_swin_b.py``.
        sizes: Of `architecture` or of an ``arch_*.json``. Where it leaves out ``text_stage_ends``, BERT's layers end
            the stages in quarters (MagNet) or all run before the first alignment module (LAVT), as released.
        kind: ``'magnet'`` or ``'lavt'``.
        source: For messages.

    Raises:
        CheckpointError: If `sizes` states what our networks do not have, or no number where one is due.
    """
    _check_sizes(sizes, kind, source)
    encoder = {name: sizes[name] for name in ('embed_dims', 'depths', 'num_heads', 'window_size') if name in sizes}
    text = dict(published['text_encoder'])
    layers = 12
    if 'bert' in sizes:
        text['config'] = {'model_type': 'bert', **sizes['bert']}
        layers = text['config'].get('num_hidden_layers', layers)
    if 'bert' in sizes or 'text_stage_ends' in sizes:
        quarters = [layers * stage // 4 for stage in (1, 2, 3, 4)]
        text['stage_ends'] = sizes.get('text_stage_ends', quarters if kind == 'magnet' else [layers] * 4)
    head = dict(published['decode_head'])
    for name in ('pixel_decoder_layers', 'decoder_layers'):
        if name in sizes:
            head[name] = sizes[name]
    return {**published, 'backbone': {**published['backbone'], **encoder}, 'text_encoder': text, 'decode_head': head}


def unlike(published: dict[str, Any], sizes: Mapping[str, Any], kind: str) -> list[str]:
    """Sizes that differ from a published model's, each as ``name value instead of value``.

    Args:
        published: As for `model_config`.
        sizes: Of `architecture`.
        kind: ``'magnet'`` or ``'lavt'``.
    """
    with torch.device('meta'):
        whole = MODELS.build(published).state_dict()
    own = architecture({released_name(name, kind): value for name, value in whole.items()}, kind)
    own, found = {**own, **own['bert']}, {**sizes, **sizes['bert']}
    return [
        f'{name} {value} instead of {own[name]}'
        for name, value in found.items()
        if name != 'bert' and value != own[name]
    ]


def build(model: dict[str, Any], source: str | Path) -> Any:
    """Build a model whose sizes came out of a file.

    Args:
        model: Of `model_config`.
        source: The file, for messages.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: If no network has such sizes, e.g. heads that do not divide a width.
    """
    try:
        return MODELS.build(model)
    except (ValueError, TypeError, AssertionError, RuntimeError, KeyError, AttributeError) as error:
        raise CheckpointError(f'{source}: no network can be built at its sizes: {error}') from error


def _check_sizes(sizes: Mapping[str, Any], kind: str, source: str | Path) -> None:
    def whole(value: Any) -> bool:
        return _is_int(value) and 0 < value <= LARGEST

    for name, value in sizes.items():
        if name in NUMBERS:
            wrong = not whole(value) and 'a whole number over 0'
        elif name in STAGES:
            fitting = isinstance(value, (list, tuple)) and len(value) == 4 and all(map(whole, value))
            wrong = not fitting and 'four whole numbers over 0'
        elif name == 'bert':
            fitting = isinstance(value, Mapping) and all(
                whole(part) for part in value.values() if isinstance(part, int)
            )
            wrong = not fitting and "sizes of a BERT, by the names of transformers' BertConfig"
        else:
            raise CheckpointError(
                f'{source}: {name} is not among our sizes, which are {", ".join(NUMBERS + STAGES)}, bert'
            )
        if wrong:
            raise CheckpointError(f'{source}: {name} is {value!r}, expected {wrong}')
        fixed = FIXED[kind].get(name, value)
        if value != fixed:
            raise CheckpointError(f'{source}: {name} is {value}, {kind} has {fixed}')


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
