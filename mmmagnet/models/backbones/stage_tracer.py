"""Where the stages of a backbone are, found by tracing one of its forward passes."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmmagnet.utils.errors import ConfigError

Size = tuple[int, int]
Fingerprint = tuple[int, int, int]


class Step(NamedTuple):
    """A module that the map goes through, and how it is called.

    Attributes:
        name: Of the module in its backbone.
        takes: Layout in which it takes the map: ``'BCHW'``, ``'BHWC'`` or ``'BNC'``.
        gives: Layout in which it returns the map, alone or followed by its size.
        args: What follows the map; ``'size'``, ``'height'`` and ``'width'`` stand for (H, W), H and W of the map.
        kwargs: The same, by keyword.
        resizes: Whether it changes H and W.
    """

    name: str
    takes: str
    gives: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    resizes: bool

    def run(self, backbone: nn.Module, image: Tensor) -> Tensor:
        """Call the module on a map: (B, H, W, C) -> (B, H', W', C')."""
        height, width = image.shape[1:3]
        if self.takes == 'BCHW':
            image = image.permute(0, 3, 1, 2).contiguous()
        elif self.takes == 'BNC':
            image = image.flatten(1, 2)
        actual = {'size': (height, width), 'height': height, 'width': width}
        args = [actual.get(value, value) for value in self.args]
        kwargs = {name: actual.get(value, value) for name, value in self.kwargs.items()}
        output, size = _split(backbone.get_submodule(self.name)(image, *args, **kwargs))
        if self.gives == 'BCHW':
            return output.permute(0, 2, 3, 1)
        return output.unflatten(1, size or (height, width)) if self.gives == 'BNC' else output


class Call(NamedTuple):
    """A call that can be repeated on another map, as it was in the traced pass.

    Attributes:
        step: How to repeat it.
        taken: Fingerprint of the map that it takes.
        given: Fingerprint of the map that it gives.
        started: Count at its start; calls inside of it start later and end earlier.
        ended: Count at its end.
    """

    step: Step
    taken: Fingerprint
    given: Fingerprint
    started: int
    ended: int


class StageTrace(NamedTuple):
    """The steps that a backbone consists of.

    Attributes:
        stages: The steps to each stage's map, from the map before or from the image.
        norms: The step from each stage's map to the backbone's output; None where the map itself is the output.
        channels: C_i.
    """

    stages: list[list[Step]]
    norms: list[Step | None]
    channels: tuple[int, ...]


def trace_stages(backbone: nn.Module, image: Tensor) -> StageTrace:
    """Find the modules that carry the map from stage to stage, by one forward pass.

    A fingerprint of its values identifies a map in every layout. The path is followed back from the last output to the
    image, from the input of a module to the module that gives it. Every other output must lie on that path, or be the
    result of a module (a norm) that reads a map on it.

    Args:
        backbone: In evaluation mode. Gives maps (B, C_i, H_i, W_i), fine to coarse.
        image: Noise (1, 3, H, W). W is 1.5 H and H is no multiple of 3, so that shapes tell layouts apart.

    Raises:
        ConfigError: If the backbone cannot be split into stages.
    """
    calls, outputs = _record_calls(backbone, image)
    kind = type(backbone).__name__
    if not isinstance(outputs, (tuple, list)) or len(outputs) < 2:
        raise ConfigError(f'{kind} gives one map: set its out_indices=(0, 1, 2, 3) to get one of each stage')
    for index, output in enumerate(outputs):
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ConfigError(
                f'{kind}: output {index} is {shape} instead of a map (B, C, H, W): switch off what pools or flattens '
                'it (gap_before_final_norm=False)'
            )
    wanted = [fingerprint(output) for output in outputs]
    path = _follow_back(calls, wanted[-1], fingerprint(image), kind)
    places = {call.given: index for index, call in enumerate(path)}
    makers = {call.given: call for call in calls}
    norms: list[Step | None] = [None] * len(outputs)
    ends = []
    for stage, output in enumerate(wanted[:-1]):
        maker = makers.get(output)
        if output not in places and maker is not None:
            norms[stage] = maker.step
            output = maker.taken
        if output not in places:
            raise ConfigError(
                f'{kind} cannot be split into stages: output {stage} is not on the path to output {len(wanted) - 1}'
            )
        ends.append(places[output] + 1)
    kinds = {type(backbone.get_submodule(norm.name)) for norm in norms[:-1] if norm is not None}
    if all(norms[:-1]) and type(backbone.get_submodule(path[-1].step.name)) in kinds:
        norms[-1] = path.pop().step  # like the others, but nothing follows it
    starts, ends = [0, *ends], [*ends, len(path)]
    if any(start >= end for start, end in zip(starts, ends, strict=True)):
        raise ConfigError(f'{kind} cannot be split into stages: its outputs do not follow one from another')
    stages = [[call.step for call in path[start:end]] for start, end in zip(starts, ends, strict=True)]
    return StageTrace(stages, norms, tuple(output.shape[1] for output in outputs))


def _follow_back(calls: list[Call], wanted: Fingerprint, image: Fingerprint, kind: str) -> list[Call]:
    """The calls that lead from the image to a map, outermost ones first where calls are nested."""
    path: list[Call] = []
    for call in reversed(calls):
        if call.given == wanted and (not path or call.ended < path[-1].started):
            path.append(call)
            wanted = call.taken
    if wanted != image:
        what = f'what {path[-1].step.name} takes' if path else 'its last output'
        raise ConfigError(
            f'{kind} cannot be split into stages: {what} is not one map given by one of its modules (it adds positions '
            'or tokens, or joins branches)'
        )
    return path[::-1]


def _record_calls(backbone: nn.Module, image: Tensor) -> tuple[list[Call], Any]:
    """Run a backbone; return its calls that can be repeated, in the order in which they end, and its outputs."""
    calls: list[Call] = []
    open_calls: list[tuple[int, Fingerprint | None]] = []
    clock = itertools.count()
    size = (image.shape[2], image.shape[3])

    def start(module: nn.Module, args: tuple) -> None:
        open_calls.append((next(clock), fingerprint(args[0]) if args and isinstance(args[0], Tensor) else None))

    def end(name: str, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        started, taken = open_calls.pop()
        step = _step_of(name, args, kwargs, output, size)
        if step is not None and taken is not None:
            calls.append(Call(step, taken, fingerprint(_split(output)[0]), started, next(clock)))

    handles = []
    for name, module in backbone.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(start))
            handles.append(module.register_forward_hook(functools.partial(end, name), with_kwargs=True))
    try:
        with torch.no_grad():
            outputs = backbone(image)
    finally:
        for handle in handles:
            handle.remove()
    return calls, outputs


def _step_of(name: str, args: tuple, kwargs: dict, output: Any, image: Size) -> Step | None:
    """The step that repeats a call; None if it takes or gives more than a map, its size and plain settings."""
    result, stated = _split(output)
    before, after = _layout_of(args[0] if args else None, image), _layout_of(result, image)
    if before is None or after is None:
        return None
    (takes, size), (gives, new_size) = before, after
    if stated != new_size and (stated is not None or (gives == 'BNC' and new_size != size)):
        return None
    stand_ins = {size: 'size', size[0]: 'height', size[1]: 'width'}

    def settle(value: Any) -> Any:
        if value is None or isinstance(value, (bool, str)):
            return value
        return stand_ins[tuple(value) if isinstance(value, (tuple, list)) else value]

    try:
        rest = tuple(settle(value) for value in args[1:])
        named = {key: settle(value) for key, value in kwargs.items()}
    except (KeyError, TypeError):  # numbers that are no size of the map; tensors
        return None
    return Step(name, takes, gives, rest, named, size != new_size)


def _split(output: Any) -> tuple[Any, Size | None]:
    """Map and size that a module gives, as ``map``, ``(map, (H, W))`` or ``(map, H, W)``; None where it is neither."""
    match output:
        case Tensor():
            return output, None
        case (Tensor() as result, (int(height), int(width))) | (Tensor() as result, int(height), int(width)):
            return result, (height, width)
    return None, None


def _layout_of(value: Any, image: Size) -> tuple[str, Size] | None:
    """Layout and (H, W) of a map, found by the ratio of its sides, which is the image's."""
    if not isinstance(value, Tensor) or value.ndim not in (3, 4):
        return None
    shape = tuple(value.shape)
    if value.ndim == 3:
        height = math.isqrt(shape[1] * image[0] // image[1])
        candidates = [('BNC', height, shape[1] // max(height, 1))]
    else:
        candidates = [('BHWC', shape[1], shape[2]), ('BCHW', shape[2], shape[3])]
    for layout, height, width in candidates:
        if height * image[1] == width * image[0] and (value.ndim == 4 or height * width == shape[1]):
            return layout, (height, width)
    return None


def fingerprint(value: Tensor) -> Fingerprint:
    """A map's values in whatever order: their number and two sums of their bits, exact modulo 2^64."""
    bits = value.detach().float().contiguous().view(torch.int32).long()
    return bits.numel(), int(bits.sum()), int((bits * bits).sum())
