"""Memory of the activations of a training step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Mode that counts the memory of tensors which operations return, until they are freed.

    Memory that a kernel allocates and frees inside itself is not seen.

    Example:
        >>> with LiveBytes() as counter:
        ...     kept = torch.ones(256)
        >>> counter.peak
        1024

    Attributes:
        peak: Largest number of bytes at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count its results."""
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor):  # results may be views of it
                self._add(given.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                storage = made.untyped_storage()
                self._add(storage, storage.nbytes())
        self.peak = max(self.peak, self._live)
        return result

    def _add(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self._live += size
            weakref.finalize(storage, self._remove, key, size).atexit = False

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def activation_bytes(model: nn.Module, forward_backward: Callable[[], None], device: str) -> int:
    """Peak memory of a forward and a backward pass on top of weights, gradients and the optimizer's state.

    Args:
        model: Network. Its gradients are allocated before anything is counted, and stay.
        forward_backward: Function of the two passes, which add to the gradients.
        device: ``cpu`` counts tensor by tensor; ``cuda`` asks the allocator.

    Returns:
        Number of bytes.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        forward_backward()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with LiveBytes() as counter:
        forward_backward()
    return counter.peak
