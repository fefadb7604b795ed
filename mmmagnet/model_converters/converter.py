"""What is known of a method's released checkpoints, and the strict conversion that follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmmagnet.utils.checkpoint import TRAINING_ONLY, check_entries
from mmmagnet.utils.errors import CheckpointError

from .filling import Weight, make_inputs, make_weight

Rules = Sequence[tuple[str, str]]
"""(pattern, replacement) of `re.sub`, in order, each applied to the result of those before it."""


@dataclass(frozen=True)
class Converter:
    """The released checkpoints of one method.

    Attributes:
        kind: Name of the method.
        config: File in ``configs/`` of the published network.
        marker: Pattern that entries of this method alone begin with.
        rules: From a released entry's name to ours.
        unused: Pattern of released names that have no effect on masks. Such an entry is left out where our network has
            no place for it.
        resize: (model config, sizes) -> config of the same network at the sizes of an ``arch_*.json``. Names that our
            network has no place for are passed over: loading is strict, and the numbers must agree.
        arrays: (network, settings of the case) -> what a parity case expects, by name.
        tolerance: Largest error of such an array, as a part of its largest number.
        tolerances: Pattern of an array's name -> another such bound.
        each: Pattern of arrays whose every number is compared with its own size instead of the largest.
        absent: Pattern of names of ours that released files lack; those entries become zeros.
        prepare: Released entries -> the same, with stacked or transposed ones taken apart.
        weight: Value of a released entry in the parity cases.
        apply_options: (model config, training options in the file, source) -> config, for what shapes do not show.

    Example:
        >>> from mmmagnet.model_converters import LAVT
        >>> LAVT.rename('backbone.layers.2.blocks.0.norm1.bias')
        'backbone.stages.2.0.norm1.bias'
    """

    kind: str
    config: str
    marker: str
    rules: Rules
    unused: str
    resize: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]
    arrays: Callable[[Any, Mapping[str, Any]], dict[str, Tensor]]
    tolerance: float
    tolerances: Mapping[str, float] = field(default_factory=dict)
    each: str = r'$^'
    absent: str = r'$^'
    prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = lambda entries: entries
    weight: Weight = make_weight
    apply_options: Callable[[dict[str, Any], Mapping[str, Any], str], dict[str, Any]] = lambda model, options, source: (
        model
    )

    def matches(self, names: Iterable[str]) -> bool:
        """Whether released names are of this method."""
        return any(re.match(self.marker, name) for name in names)

    def rename(self, name: str) -> str:
        """Our name of a released entry."""
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name

    def tolerance_of(self, array: str) -> float:
        """Largest error of an array of a parity case, as a part of its largest number."""
        return next((bound for pattern, bound in self.tolerances.items() if re.match(pattern, array)), self.tolerance)

    def convert(
        self, entries: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str | Path = 'checkpoint'
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Turn released entries into those of our network.

        Args:
            entries: By released names.
            own: State dict of our network, for its names and shapes. Entries of auxiliary heads may be missing in
                `entries`, and counts of BatchNorm's steps start at zero where they are.
            source: For messages.

        Returns:
            Our name -> tensor in the order and types of `own`, and the released names that were left out.

        Raises:
            CheckpointError: Naming the released entry that does not fit, is not known, or holds no finite numbers.
        """
        converted: dict[str, Tensor] = {}
        released: dict[str, str] = {}
        unused = []
        for name, value in self.prepare(entries).items():
            ours = self.rename(name)
            if ours not in own and re.fullmatch(self.unused, name):
                unused.append(name)
                continue
            if ours in converted:
                raise CheckpointError(f'{source}: {name} and {released[ours]} are the same entry, {ours}: keep one')
            if ours in own and set(value.shape[own[ours].dim() :]) == {
                1
            }:  # a 1-wide convolution is a linear layer here
                value = value.reshape(value.shape[: own[ours].dim()])
            converted[ours], released[ours] = value, name
        for name, value in own.items():
            if name.endswith('num_batches_tracked') or re.match(self.absent, name):
                converted.setdefault(name, torch.zeros(value.shape, dtype=value.dtype))
        compared = {name: own[name] for name in own if name in converted or not name.startswith(TRAINING_ONLY)}
        fix = 'get the file again if it is damaged, or give the config of its network with --config'
        check_entries(compared, converted, source, fix, aliases=released)
        for name, value in converted.items():
            if value.is_floating_point() != own[name].is_floating_point():
                problem = f'holds {value.dtype}, expected {own[name].dtype}'
            elif not (fitting := value.to(own[name].dtype)).isfinite().all():
                problem = 'has values that are not finite'
            else:
                converted[name] = fitting
                continue
            raise CheckpointError(f'{source}: {released[name]} {problem}: the file is damaged, get it again')
        return {name: converted[name] for name in compared}, unused


def resize_model(model: dict[str, Any], sizes: Mapping[str, Any], parts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A published model's config at the sizes of an ``arch_*.json``, for a network with a BERT.

    BERT's stages end at the same parts of its depth as published, unless ``text_stage_ends`` says where.

    Args:
        model: `model` of the published config.
        sizes: Name -> value; ``bert`` holds sizes by the names of transformers' `BertConfig`.
        parts: Part of the model -> names of sizes that it takes as they are.
    """
    resized = dict(model)
    for part, names in parts.items():
        resized[part] = {**model[part], **{name: sizes[name] for name in names if name in sizes}}
    text = resized['text_encoder'] = dict(model['text_encoder'])
    if 'bert' in sizes:
        ends = text['stage_ends']
        text['config'] = {'model_type': 'bert', **sizes['bert']}
        text['stage_ends'] = [end * sizes['bert'].get('num_hidden_layers', ends[-1]) // ends[-1] for end in ends]
    text['stage_ends'] = sizes.get('text_stage_ends', text['stage_ends'])
    return resized


@contextmanager
def taps(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Any]]]:
    """Collect what modules return, by name, once for each of their calls."""
    seen: dict[str, list[Any]] = {name: [] for name in modules}
    handles = [
        module.register_forward_hook(lambda _, __, result, name=name: seen[name].append(result))
        for name, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def watch(model: Any, settings: Mapping[str, Any]) -> tuple[list[Tensor], Tensor, Any]:
    """Maps of all stages, the words that enter the last stage, and what the decode head returns, of a case."""
    words = {}
    forward_stage = model.text_encoder.forward_stage

    def watched(stage: int, tokens: Tensor, mask: Tensor) -> Tensor:
        words[stage] = tokens
        return forward_stage(stage, tokens, mask)

    model.text_encoder.forward_stage = watched
    try:
        features = model.extract_feat(*make_inputs(settings))
    finally:
        del model.text_encoder.forward_stage
    return features.maps, words[max(words)], model.decode_head(features)
