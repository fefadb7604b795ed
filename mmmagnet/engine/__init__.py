"""What runs beside training and evaluation."""

from . import hooks, optim_wrapper_constructor

__all__ = ['hooks', 'optim_wrapper_constructor']
