"""Activation memory against graphs that keep a known number of bytes."""

import pytest
import torch
from activation_memory import LiveBytes, activation_bytes
from torch import nn

SIZE = 1024  # bytes of one activation
LAYERS = 8


class Chain(nn.Module):
    """exp after exp, each of which keeps its result; the weight is larger than all of them."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SIZE // 4))
        self.unused = nn.Parameter(torch.zeros(100 * SIZE))

    def forward(self):
        value = self.weight
        for _ in range(LAYERS):
            value = (value * 0.5).exp()
        value.sum().backward()


def test_chain():
    chain = Chain()
    peak = activation_bytes(chain, chain, 'cpu')
    # the results, and at most three gradients or products at a time; scalars beside
    assert LAYERS * SIZE <= peak <= (LAYERS + 3) * SIZE + 64
    assert chain.weight.grad.shape == chain.weight.shape


def test_weights_and_gradients_do_not_count():
    chain = Chain()
    assert activation_bytes(chain, lambda: chain.unused.grad.add_(chain.unused), 'cpu') == 0


@pytest.mark.parametrize('count', [1, 5])
def test_what_is_freed_is_not_counted_again(count):
    with LiveBytes() as counter:
        for _ in range(count):
            kept = torch.ones(SIZE // 4)
            view = kept.view(2, -1)[1]
            del kept, view
    assert counter.peak <= 2 * SIZE  # the new one is made before the old one goes
