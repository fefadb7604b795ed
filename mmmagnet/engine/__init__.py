"""Hooks, checks before a run, and the optimizer constructor."""

from . import hooks, optim_wrapper_constructor, warmup_poly_lr

__all__ = ['hooks', 'optim_wrapper_constructor', 'warmup_poly_lr']
