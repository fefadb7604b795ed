"""Small helpers that know nothing of networks or data."""

from .errors import DataError
from .paths import resolve_model_path

__all__ = ['DataError', 'resolve_model_path']
