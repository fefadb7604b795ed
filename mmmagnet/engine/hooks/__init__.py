"""Hooks of training and testing."""

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .epoch_sampler_hook import EpochSamplerHook
from .iter_seed_hook import IterSeedHook
from .lazy_runtime_info_hook import LazyRuntimeInfoHook
from .referring_visualization_hook import ReferringVisualizationHook
from .skip_non_finite_hook import SkipNonFiniteHook
from .strict_load_hook import StrictLoadHook

__all__ = [
    'AtomicCheckpointHook',
    'EpochSamplerHook',
    'IterSeedHook',
    'LazyRuntimeInfoHook',
    'ReferringVisualizationHook',
    'SkipNonFiniteHook',
    'StrictLoadHook',
]
