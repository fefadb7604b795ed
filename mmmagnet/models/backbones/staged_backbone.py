"""Any backbone that gives a map of each stage, split into stages so that fusion can sit between them."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError

from .stage_tracer import StageTrace, Step, trace_stages
from .stages import run_stages

# H and W of the image that a backbone is traced on; larger ones for those that refuse maps smaller than a window
_PROBES = ((64, 96), (256, 384), (448, 672))


@MODELS.register_module()
class StagedBackbone(BaseModule):
    """A backbone of mmseg, mmpretrain or one's own as `stem`, `forward_stage` and `downsample`.

    It finds the stages by itself. It traces which modules carry the map to each output (see `trace_stages`), calls
    those in turn, and compares the maps with the backbone's own outputs. Modules that only make an output of a
    stage's map (the norms after the stages of Swin and ConvNeXt) are left out, like all others that no map goes
    through. Fusion reads the map that goes on, and unused weights stop DDP.

    Args:
        backbone: The backbone. It must give one map (B, C_i, H_i, W_i) for each stage (``out_indices=(0, 1, 2, 3)``).
            Its weights are initialised or loaded by its own `init_cfg`.
        init_cfg: MMEngine initialisation config.

    Raises:
        ConfigError: If the backbone is not registered or cannot be split into stages.

    Example:
        >>> encoder = StagedBackbone(dict(type='ResNet', depth=18))
        >>> encoder.out_channels
        (64, 128, 256, 512)
        >>> encoder.forward_stage(0, encoder.stem(torch.rand(1, 3, 64, 64))).shape
        torch.Size([1, 16, 16, 64])
    """

    def __init__(self, backbone: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        device = torch.empty(0).device
        with torch.device('cpu'):  # it must run, also where the network is built without memory (meta)
            find_class(backbone['type'])
            self.body: Any = MODELS.build(backbone)
            trace = _trace(self.body)
        drop_unused(self.body, [step.name for steps in trace.stages for step in steps])
        self.body.to(device)
        self.out_channels = trace.channels
        self.num_stages = len(trace.stages)
        # a stage begins where the size of its map is reached; one that is a single module downsamples by itself
        begins = [max((i + 1 for i, step in enumerate(steps) if step.resizes), default=0) for steps in trace.stages]
        begins = [begin if begin < len(steps) else 0 for begin, steps in zip(begins, trace.stages, strict=True)]
        self.approaches = [steps[:begin] for begin, steps in zip(begins, trace.stages, strict=True)]
        self.stages = [steps[begin:] for begin, steps in zip(begins, trace.stages, strict=True)]

    def stem(self, inputs: Tensor) -> Tensor:
        """Image (B, 3, H, W) -> map (B, H_1, W_1, C)."""
        return run_steps(self.body, self.approaches[0], inputs.permute(0, 2, 3, 1))

    def forward_stage(self, stage: int, image: Tensor) -> Tensor:
        """Run stage 0..3 on its map: (B, H, W, C) -> (B, H_i, W_i, C_i)."""
        return run_steps(self.body, self.stages[stage], image)

    def downsample(self, stage: int, image: Tensor) -> Tensor:
        """Go on to the next stage's size and width, where that is a module of its own; the last map stays as it is."""
        return run_steps(self.body, self.approaches[stage + 1], image) if stage + 1 < self.num_stages else image

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """All stages without any fusion: images (B, 3, H, W) -> maps (B, C_i, H_i, W_i), fine to coarse."""
        return run_stages(self, inputs)


def run_steps(backbone: nn.Module, steps: list[Step], image: Tensor) -> Tensor:
    """Take a map (B, H, W, C) through some modules of a backbone."""
    for step in steps:
        image = step.run(backbone, image)
    return image


def drop_unused(module: nn.Module, used: list[str], path: str = '') -> None:
    """Replace modules by identities where they are not `used` and hold none that is.

    Raises:
        ConfigError: If a module that holds used ones has parameters of its own: no step applies those.
    """
    for name, _ in module.named_parameters(recurse=False):
        raise ConfigError(f'backbone cannot be split into stages: its parameter {path}{name} acts between modules')
    for name, child in module.named_children():
        if f'{path}{name}' in used:
            continue
        if any(step.startswith(f'{path}{name}.') for step in used):
            drop_unused(child, used, f'{path}{name}.')
        else:
            setattr(module, name, nn.Identity())


def find_class(kind: str | type) -> type:
    """The class that a config's `type` names, its package imported where the name has a prefix (`mmpretrain.`).

    Raises:
        ConfigError: If it is not registered, or its package cannot be imported.
    """
    if not isinstance(kind, str):
        return kind
    with contextlib.suppress(RuntimeError, ImportError):  # MMEngine's "Failed to get", without the reason
        found = MODELS.get(kind)
        if found is not None:
            return found
    package, dot, _ = kind.rpartition('.')
    if not dot:
        raise ConfigError(f'backbone {kind!r} is not registered: name its package in custom_imports of the config')
    package = package.partition('.')[0]
    try:
        importlib.import_module(f'{package}.models')
    except ImportError as error:
        missing = (getattr(error, 'name', None) or package).partition('.')[0]
        fix = f'onedl-{package} (upstream: {package})' if missing == package else missing
        raise ConfigError(f'backbone {kind!r}: {error}; pip install {fix}') from error
    raise ConfigError(f'backbone {kind!r}: {package} has no model of that name')


def build_image_encoder(config: dict) -> Any:
    """Build a backbone as it is where it has the protocol of a staged encoder, else as a `StagedBackbone`."""
    kind = find_class(config['type'])
    staged = all(hasattr(kind, name) for name in ('stem', 'forward_stage', 'downsample'))
    return MODELS.build(config) if staged else StagedBackbone(config)


def _trace(backbone: nn.Module) -> StageTrace:
    """Trace a backbone on the smallest image that it takes, and check the stages on another image."""
    kind, training = type(backbone).__name__, backbone.training
    backbone.eval()
    generator = torch.Generator().manual_seed(0)
    problem = ''
    for size in _PROBES:
        image = torch.randn(1, 3, *size, generator=generator)
        try:
            with torch.no_grad():
                trace = trace_stages(backbone, image)
                differing = _compare(backbone, trace, image.transpose(2, 3))
        except ConfigError:
            raise
        except (AssertionError, RuntimeError, ValueError) as error:
            problem = f'at {size[0]} x {size[1]} pixels: {error}'
            continue
        if differing is not None:
            raise ConfigError(f'{kind} cannot be split into stages: its modules alone do not give output {differing}')
        backbone.train(training)
        return trace
    raise ConfigError(f'{kind} cannot be split into stages: it does not take images of every size ({problem})')


def _compare(backbone: nn.Module, trace: StageTrace, inputs: Tensor) -> int | None:
    """Index of the first output of a backbone that its steps do not reproduce, or None."""
    outputs = backbone(inputs)
    image = inputs.permute(0, 2, 3, 1)
    for stage, (steps, norm) in enumerate(zip(trace.stages, trace.norms, strict=True)):
        image = run_steps(backbone, steps, image)
        final = norm.run(backbone, image) if norm is not None else image
        if not torch.allclose(final.permute(0, 3, 1, 2), outputs[stage], rtol=1e-3, atol=1e-4):
            return stage
    return None
