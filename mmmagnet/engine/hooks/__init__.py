"""Hooks."""

from .epoch_sampler_hook import EpochSamplerHook
from .finite_loss_hook import FiniteLossHook
from .load_check_hook import LoadCheckHook
from .referring_visualization_hook import ReferringVisualizationHook
from .step_seed_hook import StepSeedHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'EpochSamplerHook',
    'FiniteLossHook',
    'LoadCheckHook',
    'ReferringVisualizationHook',
    'StepSeedHook',
    'WholeCheckpointHook',
]
