"""Configs of other strategies: what they lack is said in one line, what they say is understood by MMEngine."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.registry import STRATEGIES
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

import mmmagnet.engine.strategies as strategies
from mmmagnet.engine.strategies import runner_class
from mmmagnet.utils.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / 'configs'
FSDP, DEEPSPEED = dict(type='FSDPStrategy'), dict(type='DeepSpeedStrategy')


@pytest.mark.parametrize(
    ('config', 'installed', 'gpus', 'found'),
    [
        (dict(), False, False, Runner),
        (dict(strategy=FSDP), False, False, Runner),  # which does not read it
        (dict(runner_type='FlexibleRunner'), False, False, FlexibleRunner),
        (dict(runner_type='FlexibleRunner', strategy=dict(type='DDPStrategy')), False, False, FlexibleRunner),
        (dict(runner_type='Walker'), True, True, "runner_type='Walker' is unknown"),
        (dict(runner_type='FlexibleRunner', strategy=DEEPSPEED), False, True, 'pip install deepspeed'),
        (
            dict(runner_type='FlexibleRunner', strategy=DEEPSPEED, optim_wrapper=dict(clip_grad=dict(max_norm=1))),
            True,
            True,
            r'clip_grad: .* set strategy\.gradient_clipping',
        ),
        (dict(runner_type='FlexibleRunner', strategy=FSDP), True, True, 'needs several processes'),
        (dict(runner_type='FlexibleRunner', strategy=FSDP, launcher='pytorch'), True, False, 'needs a GPU for each'),
        (dict(runner_type='FlexibleRunner', strategy=FSDP, launcher='pytorch'), False, True, FlexibleRunner),
        (dict(runner_type='FlexibleRunner', strategy=DEEPSPEED, launcher='pytorch'), True, True, FlexibleRunner),
    ],
)
def test_what_is_missing(monkeypatch, config, installed, gpus, found):
    monkeypatch.setattr(strategies, 'find_spec', lambda name: installed or None)
    monkeypatch.setattr(strategies, 'is_cuda_available', lambda: gpus)
    if isinstance(found, type):
        assert runner_class(Config(config)) is found
        return
    with pytest.raises(ConfigError, match=found):
        runner_class(Config(config))


@pytest.mark.parametrize('name', ['fsdp', 'deepspeed'])
def test_configs_change_the_strategy_alone(name):
    config = Config.fromfile(CONFIGS / f'magnet_swin_b_{name}.py')
    plain = Config.fromfile(CONFIGS / 'magnet_swin_b.py')
    changed = {key for key in config if config[key] != plain.get(key)}
    assert changed == {'runner_type', 'strategy'} | ({'optim_wrapper'} if name == 'deepspeed' else set())
    assert config.optim_wrapper.optimizer == plain.optim_wrapper.optimizer
    assert config.strategy.type in STRATEGIES


def test_fsdp_strategy_is_built():
    strategy = STRATEGIES.build(Config.fromfile(CONFIGS / 'magnet_swin_b_fsdp.py').strategy)
    assert isinstance(strategy, FSDPStrategy) and strategy._is_full_state_dict()


def test_fsdp_resumes_with_arguments_by_name(monkeypatch):
    """MMEngine gives them in another order than PyTorch takes them."""
    given = {}
    monkeypatch.setattr(
        strategies.FullyShardedDataParallel,
        'optim_state_dict_to_load',
        lambda model, optim, optim_state_dict: given.update(model=model, optim=optim, state=optim_state_dict) or 'part',
    )
    strategy = STRATEGIES.build(Config.fromfile(CONFIGS / 'magnet_swin_b_fsdp.py').strategy)
    loaded = []
    strategy.model = 'network'
    strategy.optim_wrapper = SimpleNamespace(optimizer='adam', load_state_dict=loaded.append)
    strategy.load_optim_state_dict({'state': {}})
    assert given == {'model': 'network', 'optim': 'adam', 'state': {'state': {}}} and loaded == ['part']
