import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def randomised():
    """Give every parameter of a module, norms and zeros included, a random value, in double precision."""

    def randomise(module, scale=0.5):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, scale)
        return module.double()

    return randomise
