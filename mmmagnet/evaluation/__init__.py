"""Metrics."""

from .referring_metric import ReferringSegMetric

__all__ = ['ReferringSegMetric']
