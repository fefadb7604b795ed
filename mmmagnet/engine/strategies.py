"""Trainings by MMEngine's FlexibleRunner: what they need is checked before a network is built."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.registry import RUNNERS, STRATEGIES
from torch.distributed.fsdp import FullyShardedDataParallel

from mmmagnet.utils.errors import ConfigError

SHARDING = ('ResumableFSDPStrategy', 'FSDPStrategy', 'DeepSpeedStrategy')
OF_DEEPSPEED = {  # settings of MMEngine's own optim wrappers -> what DeepSpeed calls them
    'accumulative_counts': 'gradient_accumulation_steps',
    'clip_grad': 'gradient_clipping',
    'dtype': 'bf16 or fp16',
    'loss_scale': 'fp16',
}


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """MMEngine's FSDP, which hands PyTorch the optimizer's state in an order of arguments that PyTorch 2.1 changed."""

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state, each process its part."""
        optimizer = self.optim_wrapper.optimizer
        part = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(part)


def runner_class(config: Config) -> Any:
    """The class of a config's runner: MMEngine's Runner, or what `runner_type` names.

    Raises:
        ConfigError: If it is unknown, or its strategy lacks a package, a launcher or GPUs, or has settings in the wrong
            place.
    """
    name = config.get('runner_type', 'Runner')
    found = RUNNERS.get(name)
    if found is None:
        raise ConfigError(f'runner_type={name!r} is unknown; Runner or FlexibleRunner')
    strategy = (config.get('strategy') or {}).get('type')
    if strategy in SHARDING and name == 'FlexibleRunner':
        for setting in config.get('optim_wrapper') or {} if strategy == 'DeepSpeedStrategy' else ():
            if setting in OF_DEEPSPEED:
                raise ConfigError(
                    f'optim_wrapper.{setting}: DeepSpeed does this itself: set strategy.{OF_DEEPSPEED[setting]} instead'
                )
        if strategy == 'DeepSpeedStrategy' and find_spec('deepspeed') is None:
            raise ConfigError(
                'strategy: DeepSpeedStrategy needs a package that is not installed: pip install deepspeed'
            )
        if config.get('launcher', 'none') == 'none':
            raise ConfigError(
                f'strategy: {strategy} needs several processes: use tools/dist_train.sh or slurm_train.sh'
            )
        if not is_cuda_available():
            raise ConfigError(f'strategy: {strategy} needs a GPU for each process, and PyTorch sees none here')
    return found
