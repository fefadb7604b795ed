"""Helpers that import nothing of datasets or models."""

from .errors import DataError, TrainingError
from .paths import resolve_model_path

__all__ = ['DataError', 'TrainingError', 'resolve_model_path']
