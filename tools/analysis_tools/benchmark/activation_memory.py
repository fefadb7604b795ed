"""How much memory the activations of a training step take."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the memory of tensors that operations return while it is active, until they are freed.

    What a kernel allocates and frees inside of itself is not seen.

    Attributes:
        peak: The most bytes that lived at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and look at its results."""
        for given in tree_leaves((args, kwargs)):
            if isinstance(given, Tensor):  # a weight, or a gradient: it was there before, results may be views of it
                self._meet(given.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, Tensor):
                storage = made.untyped_storage()
                self._meet(storage, storage.nbytes())
        self.peak = max(self.peak, self._live)
        return result

    def _meet(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self._live += size
            weakref.finalize(storage, self._part, key, size).atexit = False

    def _part(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def activation_bytes(model: nn.Module, forward_backward: Callable[[], None], device: str) -> int:
    """Peak memory of a forward and a backward pass on top of weights, gradients and the optimizer's state.

    Args:
        model: Its gradients are allocated before anything is counted, and stay.
        forward_backward: The two passes; they add to the gradients.
        device: ``cpu``: counted tensor by tensor; ``cuda``: as the allocator tells.
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
