"""The metric of referring segmentation, and the statistics of its scores."""

from .bootstrap import Difference, compare, confidence_intervals
from .breakdown import breakdown
from .comparison import Comparison, compare_files
from .protocol import describe_protocol, scoring_protocol
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
    'describe_protocol',
    'score_terms',
    'scoring_protocol',
]
