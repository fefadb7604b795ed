"""Cross-modal Alignment Module (CAM): fusion in both directions after each stage of the encoders."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmagnet.registry import MODELS

from ..layers import PixelWordAttention, WordPixelAttention, checkpointed, freeze
from .fusion_neck import FusionNeck


class ResidualGate(nn.Module):
    """x + tanh(W2 act(W1 r)) * r, both matrices without bias.

    Args:
        width: Channels of x and r.
        activation: Between the matrices.
        zero: ``'last'`` starts with W2 = 0, so the gate is shut and opens from the first step; ``'both'`` starts with
            both matrices at zero, as the release does on its text side, where no gradient ever reaches them.
    """

    def __init__(self, width: int, activation: nn.Module, zero: str | None = None) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width, bias=False)
        self.activation = activation
        self.outer = nn.Linear(width, width, bias=False)
        if zero is not None:
            nn.init.zeros_(self.outer.weight)
        if zero == 'both':
            nn.init.zeros_(self.inner.weight)

    def forward(self, tokens: Tensor, update: Tensor) -> Tensor:
        """(B, N, C) and (B, N, C) -> (B, N, C)."""
        return tokens + torch.tanh(self.outer(self.activation(self.inner(update)))) * update


class PooledAttention(nn.Module):
    """Words seen by a p x p pooled image: the global context of one pyramid level.

    Args:
        size: p.
        width: Channels C of the map; the result has C / 4.
        text_width: Channels D of the words.
        num_heads: Heads of the word attention.
    """

    def __init__(self, size: int, width: int, text_width: int, num_heads: int) -> None:
        super().__init__()
        self.size = size
        self.reduce = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False),
            nn.LayerNorm(4 * width, eps=1e-6),
            nn.Linear(4 * width, width, bias=False),
            nn.GELU(),
            nn.Linear(width, width // 4, bias=False),
        )
        self.attention = PixelWordAttention(width // 4, text_width, num_heads)

    def forward(self, image: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Map (B, H, W, C), words (B, L, D), mask (B, L) -> (B, H * W, C / 4)."""
        height, width = image.shape[1:3]
        pooled = F.adaptive_avg_pool2d(image.permute(0, 3, 1, 2), self.size).flatten(2).transpose(1, 2)
        context = self.attention(self.reduce(pooled), words, word_mask)
        context = context.transpose(1, 2).unflatten(2, (self.size, self.size))
        context = F.interpolate(context, (height, width), mode='bilinear', align_corners=True)
        return context.flatten(2).transpose(1, 2)


class AlignmentModule(nn.Module):
    """One alignment module, after one stage of both encoders. It reads both unfused and returns what goes on from each.

    Args:
        width: Channels C_i of the image map.
        text_width: Channels D of the words.
        num_heads: Heads of the word attention.
        pool_sizes: p of the global context; none means that r itself, normalised, is the decoder feature.
        bidirectional: Whether words are updated from the image.
        norm: Norm of the word attention, ``'layer'`` or ``'instance'``.
        gate_activation: Activation of the image gate.
        official_compat: See `WordPixelAttention`.
    """

    def __init__(
        self,
        width: int,
        text_width: int,
        num_heads: int,
        pool_sizes: Sequence[int],
        bidirectional: bool,
        norm: str,
        gate_activation: nn.Module,
        official_compat: bool,
    ) -> None:
        super().__init__()
        self.attention = PixelWordAttention(width, text_width, num_heads, norm)
        self.gate = ResidualGate(width, gate_activation)
        self.pyramid = nn.ModuleList(PooledAttention(size, width, text_width, num_heads) for size in pool_sizes)
        self.mixer: nn.Module = nn.LayerNorm(width)
        if pool_sizes:
            mixed = width + len(pool_sizes) * (width // 4)
            self.mixer = nn.Sequential(nn.Linear(mixed, width), nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.text_attention = WordPixelAttention(text_width, width, official_compat) if bidirectional else None
        self.text_gate = (
            ResidualGate(text_width, nn.ReLU(), zero='both' if official_compat else 'last') if bidirectional else None
        )

    def forward(self, image: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `CrossModalAlignmentModule.fuse`."""
        batch, height, width, _ = image.shape
        tokens = image.flatten(1, 2)
        attended = self.attention(tokens, words, word_mask)
        context = [level(image, words, word_mask) for level in self.pyramid]
        feature = self.mixer(torch.cat([*context, attended], dim=2))
        feature = feature.transpose(1, 2).unflatten(2, (height, width))
        fused = self.gate(tokens, attended).view(batch, height, width, -1)
        if self.text_attention is not None and self.text_gate is not None:
            words = self.text_gate(words, self.text_attention(words, tokens, word_mask))
        return feature, fused, words


@MODELS.register_module()
class CrossModalAlignmentModule(FusionNeck):
    """Alignment modules between two staged encoders, one after each stage (the paper's CAM; [P][O]).

    With ``pool_sizes=()`` and ``bidirectional=False`` it is LAVT's one-way fusion.

    Args:
        image_channels: C_i of each stage.
        text_channels: D.
        num_heads: Heads of the word attention, for all stages or one number each.
        pool_sizes: Sizes p of the pooled maps that carry global context.
        bidirectional: Whether words are updated from the image too.
        norm: Norm in the word attention: ``'layer'``, or ``'instance'`` over tokens as LAVT has it.
        gate_activation: Of the image gate: ``'gelu'``, or ``'relu'`` as LAVT has it.
        official_compat: Reproduce the released evaluation's text side (see `WordPixelAttention` and `ResidualGate`),
            which reads padded words too. Only for exact parity with released checkpoints.
        with_cp: Activation checkpointing of its alignment modules: they run again in the backward pass.
        init_cfg: MMEngine initialisation config.

    Raises:
        ValueError: If `gate_activation`, `norm` or the length of `num_heads` cannot be used.

    Example:
        >>> neck = CrossModalAlignmentModule(image_channels=(16, 32), text_channels=24)
        >>> image, words = torch.rand(2, 8, 8, 16), torch.rand(2, 5, 24)
        >>> feature, image, words = neck.fuse(0, image, words, torch.ones(2, 5))
        >>> feature.shape, image.shape, words.shape
        (torch.Size([2, 16, 8, 8]), torch.Size([2, 8, 8, 16]), torch.Size([2, 5, 24]))
    """

    def __init__(
        self,
        image_channels: Sequence[int],
        text_channels: int,
        num_heads: int | Sequence[int] = 1,
        pool_sizes: Sequence[int] = (1, 2, 3, 6),
        bidirectional: bool = True,
        norm: str = 'layer',
        gate_activation: str = 'gelu',
        official_compat: bool = False,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(image_channels, init_cfg)
        activations = {'gelu': nn.GELU, 'relu': nn.ReLU}
        if gate_activation not in activations:
            raise ValueError(f'gate_activation={gate_activation!r}: expected one of {sorted(activations)}')
        heads = [num_heads] * len(image_channels) if isinstance(num_heads, int) else list(num_heads)
        self.with_cp = with_cp
        self.reads_padding = official_compat and bidirectional
        self.stages = nn.ModuleList(
            AlignmentModule(
                width,
                text_channels,
                count,
                pool_sizes,
                bidirectional,
                norm,
                activations[gate_activation](),
                official_compat,
            )
            for width, count in zip(image_channels, heads, strict=True)
        )

    def fuse(self, stage: int, image: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the alignment module of a stage; see `FusionNeck.fuse`."""
        return checkpointed(self.stages[stage], image, words, word_mask, active=self.with_cp)

    def freeze_unread(self, maps: Collection[int], image: bool, words: bool) -> None:
        """Freeze mixers of unread maps, and what only the unread image map or words after the last stage need."""
        modules: list[AlignmentModule] = list(self.stages)  # type: ignore[arg-type]
        for stage, module in enumerate(modules):
            if stage not in maps:
                freeze(module.mixer, module.pyramid)
        last = modules[-1]
        if not image:
            freeze(last.gate)
        if not words and last.text_attention is not None and last.text_gate is not None:
            freeze(last.text_attention, last.text_gate)
