"""What Mask Grounding goes by: the image, the place of the mask, or the other words alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmmagnet.models.aux_heads import AuxiliaryInputs
from mmmagnet.utils.errors import ConfigError

SEEN = ('own', 'image of another', 'place of another')


@dataclass(frozen=True)
class PartGradients:
    """Gradients of a part's weights, averaged over batches.

    Attributes:
        rest: Norm of that of all other losses.
        grounding: Norm of that of Mask Grounding, with its weight.
        cosine: Of the angle between them.
    """

    rest: float
    grounding: float
    cosine: float


@dataclass(frozen=True)
class GroundingProbe:
    """How well masked words are guessed, and what that teaches.

    Attributes:
        batches: Number of batches.
        loss: Cross-entropy of the masked words without its weight, by what was shown: ``own`` image and mask,
            ``image of another`` sample of the batch, ``place of another`` sample's mask.
        accuracy: Percentage of the masked words guessed right, by the same.
        gradients: Of each part of the segmentor that both kinds of loss reach.
    """

    batches: int
    loss: dict[str, float]
    accuracy: dict[str, float]
    gradients: dict[str, PartGradients]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def probe_grounding(model: Any, batches: Iterable[dict[str, Any]]) -> GroundingProbe:
    """Swap images, then places, between the samples of a batch, and compare gradients.

    The same words are masked each time. With the image of another sample both encoders are run again, so that nothing
    of the sample's own image is left, in the image map or in words that an alignment module has shown it to. A head that grounds
    words then does worse; one that does not has learnt which words go together.

    Args:
        model: A segmentor whose `auxiliary_head` is `AuxiliaryHeads` with a `MaskGroundingHead`; left in evaluation
            mode, without gradients.
        batches: As a dataloader gives them. One of a single sample is left out.

    Raises:
        ConfigError: If the segmentor has no Mask Grounding, or no batch has two samples.
    """
    heads = getattr(model, 'auxiliary_head', None)
    head: Any = getattr(heads, 'grounding', None)
    if head is None:
        raise ConfigError(f'{type(model).__name__}: auxiliary_head has no MaskGroundingHead to probe')
    model.eval()  # no dropout, which would hide small differences
    found = torch.zeros(len(SEEN), 2)
    parts = {name: part for name, part in model.named_children() if part is not heads}
    sums: list[dict[str, Tensor]] = [{}, {}]
    count = 0
    for batch in batches:
        data = model.data_preprocessor(batch, True)
        inputs, samples = data['inputs'], data['data_samples']
        if len(inputs) < 2:
            continue
        state = torch.get_rng_state()
        with torch.no_grad(), _recorded(head) as others:
            model.loss(inputs.roll(1, 0), samples)
        torch.set_rng_state(state)  # so that the same words are masked
        with _recorded(head) as own:
            losses = model.loss(inputs, samples)
        found += torch.tensor([own[0], others[0], own[1]])
        grounding = losses.pop('loss_grounding')
        rest, _ = model.parse_losses(losses)
        for loss, of_parts in zip((rest, grounding), sums, strict=True):
            model.zero_grad()
            loss.backward(retain_graph=loss is rest)
            for name, gradient in _gradients(parts):
                of_parts[name] = of_parts[name] + gradient if name in of_parts else gradient
        count += 1
    model.zero_grad()
    if not count:
        raise ConfigError('train_dataloader: gave no batch of two samples or more, whose images could be swapped')
    means = (found / count).tolist()
    return GroundingProbe(
        count,
        {name: mean[0] for name, mean in zip(SEEN, means, strict=True)},
        {name: mean[1] for name, mean in zip(SEEN, means, strict=True)},
        {
            name: PartGradients(
                (sums[0][name].norm() / count).item(),
                (sums[1][name].norm() / count).item(),
                torch.cosine_similarity(sums[0][name], sums[1][name], dim=0).item(),
            )
            for name in parts
            if name in sums[0] and name in sums[1] and sums[1][name].any()
        },
    )


@contextmanager
def _recorded(head: Any) -> Iterator[list[tuple[float, float]]]:
    """Meanwhile, note the head's loss (without its weight) and accuracy, then those with the place of another mask."""
    loss, noted = head.loss, []

    def probed(inputs: AuxiliaryInputs) -> dict[str, Tensor]:
        weight, head.loss_weight = head.loss_weight, 1.0
        with torch.no_grad():
            for place in (inputs.gt_masks, inputs.gt_masks.roll(1, 0)):
                result = loss(replace(inputs, gt_masks=place))
                noted.append((result['loss_grounding'].item(), result['acc_grounding'].item()))
        head.loss_weight = weight
        return loss(inputs)

    head.loss = probed
    try:
        yield noted
    finally:
        del head.loss


def _gradients(parts: dict[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    """Name and flat gradient of each part that has one; zero where a weight has none."""
    for name, part in parts.items():
        weights = list(part.parameters())
        if any(weight.grad is not None for weight in weights):
            yield (
                name,
                torch.cat([torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in weights]),
            )
