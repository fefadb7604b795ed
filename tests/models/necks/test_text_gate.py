"""The flow from image to words opens from the first step; under `official_compat` it stays shut, as in the release."""

import pytest
import torch

from mmmagnet.registry import MODELS


def gates(model):
    return [fusion.text_gate for fusion in model.neck.stages]


def train(model, batch, steps):
    """Norms of the gates' outer matrices and of their gradients after each step, (steps, alignment modules) each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    norms, gradients = [], []
    for _ in range(steps):
        optimizer.zero_grad()
        sum(value for name, value in model.loss(*batch).items() if 'loss' in name).backward()
        gradients.append([gate.outer.weight.grad.norm().item() for gate in gates(model)])
        optimizer.step()
        norms.append([gate.outer.weight.norm().item() for gate in gates(model)])
    return norms, gradients


@pytest.mark.parametrize('official_compat', [False, True])
def test_text_gate(official_compat, tiny_config, tiny_batch):
    torch.manual_seed(0)
    tiny_config['neck']['official_compat'] = official_compat
    model = MODELS.build(tiny_config)
    assert all(gate.outer.weight.eq(0).all() for gate in gates(model))
    assert [gate.inner.weight.eq(0).all().item() for gate in gates(model)] == 4 * [official_compat]
    norms, gradients = train(model, tiny_batch(), 4)
    if official_compat:
        assert norms == gradients == 4 * [[0.0] * 4]
        return
    assert all(gradient > 0 for gradient in gradients[0])  # at step 1
    for earlier, later in zip([[0.0] * 4, *norms], norms, strict=False):
        assert all(after > before for before, after in zip(earlier, later, strict=True))
    for fusion in model.neck.stages:  # and from step 2 on it reaches what feeds the gate
        assert fusion.text_gate.inner.weight.grad.abs().max() > 0
        assert fusion.text_attention.query.weight.grad.abs().max() > 0
