"""What runs beside training and evaluation."""

from . import hooks

__all__ = ['hooks']
