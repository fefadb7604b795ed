"""Hooks."""

from .epoch_sampler_hook import EpochSamplerHook
from .load_check_hook import LoadCheckHook
from .referring_visualization_hook import ReferringVisualizationHook

__all__ = ['EpochSamplerHook', 'LoadCheckHook', 'ReferringVisualizationHook']
