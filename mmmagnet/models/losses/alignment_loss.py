"""Cross-modal alignment loss: pixels of the mask agree with each other and the words, and not with the rest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS


@MODELS.register_module()
class CrossModalAlignmentLoss(nn.Module):
    """Pixel-to-pixel and pixel-to-text InfoNCE (the paper has such a loss [P]; this form is [R]).

    With P the L2-normalised features in the mask, N those outside, their plain means mean(P) and mean(N), t the
    L2-normalised expression, and ``nce(a, {b}) = -log(exp(a) / (exp(a) + sum(exp(b))))``, the loss of a sample is the
    sum of three means::

        p in P:  nce(p . mean(P) / tau1,  {p . n / tau1 : n in N})
        n in N:  nce(n . mean(N) / tau1,  {n . p / tau1 : p in P})
        p in P:  nce(p . t / tau2,        {n . t / tau2 : n in N})

    An empty P or N contributes zero. The batch is averaged. Computed in fp32.

    Args:
        pixel_temperature: tau1, of pixels inside and outside [A].
        text_temperature: tau2, of the expression [A].
        num_samples: Largest number of pixels of each side, sampled anew at each call; means are over all pixels.
        loss_weight: Factor of each of the three terms [A].

    Example:
        >>> loss = CrossModalAlignmentLoss(num_samples=64)
        >>> inside = torch.zeros(2, 100, dtype=torch.bool)
        >>> inside[:, :30] = True
        >>> loss(torch.randn(2, 100, 32), torch.randn(2, 32), inside).shape
        torch.Size([])
    """

    def __init__(
        self,
        pixel_temperature: float = 0.1,
        text_temperature: float = 0.3,
        num_samples: int = 256,
        loss_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.pixel_temperature = pixel_temperature
        self.text_temperature = text_temperature
        self.num_samples = num_samples
        self.loss_weight = loss_weight

    def forward(self, pixels: Tensor, expression: Tensor, inside: Tensor, outside: Tensor | None = None) -> Tensor:
        """Loss of a batch.

        Args:
            pixels: Pixel features, (B, N, E); any length, normalised here.
            expression: t, (B, E); normalised here.
            inside: (B, N) bool, the mask.
            outside: (B, N) bool, what is not; default: all the rest. Pixels in neither are unknown and do not count.

        Returns:
            A scalar.
        """
        outside = ~inside if outside is None else outside
        with torch.autocast(pixels.device.type, enabled=False):  # it would take the products out of fp32
            return self._compare(pixels.float(), expression.float(), inside, outside)

    def _compare(self, pixels: Tensor, expression: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
        pixels, expression = F.normalize(pixels, dim=2), F.normalize(expression, dim=1)
        mean_in, mean_out = _mean_where(pixels, inside), _mean_where(pixels, outside)
        sampled_in, valid_in = self._sample(pixels, inside)
        sampled_out, valid_out = self._sample(pixels, outside)

        cross = sampled_in @ sampled_out.transpose(1, 2) / self.pixel_temperature  # (B, K, K)
        text_in, text_out = (torch.einsum('bke,be->bk', sampled, expression) for sampled in (sampled_in, sampled_out))
        per_sample = (
            _nce(torch.einsum('bke,be->bk', sampled_in, mean_in) / self.pixel_temperature, cross, valid_in, valid_out)
            + _nce(
                torch.einsum('bke,be->bk', sampled_out, mean_out) / self.pixel_temperature,
                cross.transpose(1, 2),
                valid_out,
                valid_in,
            )
            + _nce(text_in / self.text_temperature, text_out[:, None] / self.text_temperature, valid_in, valid_out)
        )
        both = valid_in.any(1) & valid_out.any(1)
        return self.loss_weight * (per_sample * both).mean()

    def _sample(self, pixels: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        """Up to `num_samples` pixels of `where`: features (B, K, E), and which of the K exist (B, K)."""
        count = min(self.num_samples, pixels.shape[1])
        if count == pixels.shape[1]:
            return pixels, where
        score, index = torch.rand(where.shape, device=where.device).masked_fill(~where, -1).topk(count, sorted=False)
        return pixels.gather(1, index.unsqueeze(2).expand(-1, -1, pixels.shape[2])), score >= 0


def _mean_where(pixels: Tensor, where: Tensor) -> Tensor:
    """(B, N, E), (B, N) -> (B, E)."""
    weights = where.float() / where.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum('bne,bn->be', pixels, weights)


def _nce(positive: Tensor, negatives: Tensor, anchors: Tensor, others: Tensor) -> Tensor:
    """Mean InfoNCE of each sample.

    Args:
        positive: (B, K) logits.
        negatives: (B, K, J) or (B, 1, J) logits.
        anchors: (B, K) bool, which anchors exist.
        others: (B, J) bool, which negatives exist.

    Returns:
        (B,), zero where there is no anchor.
    """
    rest = negatives.masked_fill(~others[:, None], -torch.inf).logsumexp(2).clamp(min=-1e4)
    loss = F.softplus(rest - positive) * anchors  # -log(e^p / (e^p + e^rest))
    return loss.sum(1) / anchors.sum(1).clamp(min=1)
