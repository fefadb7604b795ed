"""Hooks."""

from .load_check_hook import LoadCheckHook
from .referring_visualization_hook import ReferringVisualizationHook

__all__ = ['LoadCheckHook', 'ReferringVisualizationHook']
