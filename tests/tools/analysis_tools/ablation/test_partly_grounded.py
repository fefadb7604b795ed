"""Parts that are kept from Mask Grounding get the gradient of the other losses; the rest gets all of it."""

import partly_grounded  # noqa: F401
import pytest
import torch
from mmengine.optim import OptimWrapper
from networks import make_small, read_config, small_batch

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import ConfigError


def gradients_of(model, batch, left_out=()):
    """Gradients of a batch's losses, by name."""
    torch.manual_seed(1)  # the same words are masked
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    loss, _ = model.parse_losses({name: value for name, value in losses.items() if name not in left_out})
    model.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize('kept_from', [('text_encoder',), ('backbone', 'neck')])
def test_gradients(kept_from, monkeypatch):
    config = read_config('ablation/lavt_grounding.py').model
    make_small(config)
    config.auxiliary_head[0].loss_weight_warmup_iters = 0
    config.update(type='PartlyGrounded', kept_from=kept_from)
    model = MODELS.build(config).train()
    torch.manual_seed(0)
    batch = small_batch()
    whole, rest = gradients_of(model, batch), gradients_of(model, batch, ('loss_grounding',))
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    found = {}

    def note():
        found.update({name: weight.grad for name, weight in model.named_parameters()})

    monkeypatch.setattr(optimizer, 'step', note)
    model.zero_grad()
    torch.manual_seed(1)
    assert 'loss_grounding' in model.train_step(batch, optimizer)
    differ = 0
    for name, gradient in found.items():
        expected = (rest if name.startswith(kept_from) else whole)[name]
        assert (gradient is None) == (expected is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
            differ += name.startswith(kept_from) and not torch.allclose(whole[name], expected, rtol=1e-2)
    assert differ
    accumulating = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0), accumulative_counts=2)
    with pytest.raises(ConfigError, match='updates in each step'):
        model.train_step(batch, accumulating)
