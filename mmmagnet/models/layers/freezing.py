"""Weights that no gradient can reach."""

from __future__ import annotations

from torch import nn


def freeze(*unread: nn.Module | nn.Parameter) -> None:
    """Set `requires_grad` of weights to False, because no loss depends on them.

    A network keeps such weights, so that checkpoints with and without auxiliary heads, and released ones, have the same
    entries. Without a gradient they would stop DDP, which waits for one of every weight that requires it.

    Args:
        *unread: Modules or single weights.
    """
    for part in unread:
        part.requires_grad_(False)
