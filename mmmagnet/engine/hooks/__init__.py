"""Hooks."""

from .referring_visualization_hook import ReferringVisualizationHook
from .resume_check_hook import ResumeCheckHook

__all__ = ['ReferringVisualizationHook', 'ResumeCheckHook']
