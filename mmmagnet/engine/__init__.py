"""What runs beside training and evaluation."""

from . import hooks, optim_wrapper_constructor, warmup_poly_lr

__all__ = ['hooks', 'optim_wrapper_constructor', 'warmup_poly_lr']
