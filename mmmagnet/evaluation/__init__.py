"""The metric of referring segmentation, and the statistics of its scores."""

from .bootstrap import Difference, compare, confidence_intervals
from .breakdown import breakdown
from .comparison import Comparison, compare_files
from .referring_metric import ReferringSegMetric
from .score_terms import ScoreTerms, score_terms

__all__ = [
    'Comparison',
    'Difference',
    'ReferringSegMetric',
    'ScoreTerms',
    'breakdown',
    'compare',
    'compare_files',
    'confidence_intervals',
    'score_terms',
]
