"""Metrics, and the statistics of their scores."""

from .bootstrap import Difference, compare, confidence_intervals
from .breakdown import breakdown
from .comparison import Comparison, compare_dumps
from .referring_metric import ReferringSegMetric
from .score_terms import ScoreTerms, score_terms

__all__ = [
    'Comparison',
    'Difference',
    'ReferringSegMetric',
    'ScoreTerms',
    'breakdown',
    'compare',
    'compare_dumps',
    'confidence_intervals',
    'score_terms',
]
