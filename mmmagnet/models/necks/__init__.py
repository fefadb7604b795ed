"""Necks that bridge an image tower and a text tower."""

from .cross_modal_alignment import CrossModalAlignment

__all__ = ['CrossModalAlignment']
