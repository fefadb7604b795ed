"""CARIS's learning rates, its two quirks included."""

import pytest
import torch
from mmengine.optim import OptimWrapper

from mmmagnet.registry import PARAM_SCHEDULERS


@pytest.mark.parametrize(('epoch_length', 'epochs'), [(200, 50), (None, 10_000)])
def test_rates(epoch_length, epochs):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([dict(params=[weight], lr=1e-4), dict(params=[torch.nn.Parameter(weight)], lr=1e-5)])
    settings = dict(type='WarmupPolyLR', warmup_iters=1500, power=0.9, end=epochs)
    settings |= dict(convert_to_iter_based=True) if epoch_length else dict(by_epoch=False)
    given = dict(optimizer=OptimWrapper(optimizer), epoch_length=epoch_length)
    scheduler = PARAM_SCHEDULERS.build(settings, default_args=given)
    rates = []
    for _ in range(10_000):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    for step, expected in (
        (0, 1.0),  # left alone
        (1, 1 - (1 - 1 / 1500) * 0.999),
        (750, 0.5005),
        (1500, 1.0),
        (1501, (1 - 0.1501) ** 0.9),  # the warm-up is not taken off
        (9999, 0.0001**0.9),
    ):
        assert rates[step] == pytest.approx([1e-4 * expected, 1e-5 * expected]), step
