"""A segmentor of which some parts learn nothing from Mask Grounding, to find out what that loss does to which part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmmagnet.models.segmentors import ReferringSegmentor
from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError


@MODELS.register_module()
class PartlyGrounded(ReferringSegmentor):
    """A `ReferringSegmentor` whose `kept_from` parts get the gradient of all losses but Mask Grounding's.

    It trains in one process, without AMP and accumulation, which change gradients before they are replaced.

    Args:
        kept_from: Names of its parts, such as ``('text_encoder', 'backbone')``.
        **parts: Arguments of `ReferringSegmentor`.

    Raises:
        ConfigError: In a step, if the optimizer wrapper is not MMEngine's plain one.

    Example:
        >>> model = dict(type='PartlyGrounded', kept_from=('text_encoder',))  # the rest as in any config
    """

    def __init__(self, kept_from: Sequence[str], **parts: Any) -> None:
        super().__init__(**parts)
        self.kept_from = tuple(kept_from)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """A step as in MMEngine, with other gradients in the `kept_from` parts."""
        with optim_wrapper.optim_context(self):
            losses = self(**self.data_preprocessor(data, True), mode='loss')
        loss, log_vars = self.parse_losses(losses)
        rest, _ = self.parse_losses({name: value for name, value in losses.items() if name != 'loss_grounding'})
        parts = [getattr(self, name) for name in self.kept_from]
        kept = [weight for part in parts for weight in part.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(rest, kept, retain_graph=True, allow_unused=True)
        optim_wrapper.backward(loss)
        if type(optim_wrapper) is not OptimWrapper or not optim_wrapper.should_update():
            raise ConfigError('optim_wrapper: PartlyGrounded takes a plain OptimWrapper that updates in each step')
        for weight, gradient in zip(kept, gradients, strict=True):
            weight.grad = gradient
        optim_wrapper.step()
        optim_wrapper.zero_grad()
        return log_vars
