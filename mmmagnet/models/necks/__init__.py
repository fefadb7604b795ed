"""Necks: alignment modules between an image encoder and a text encoder, one after each stage."""

from .cross_modal_alignment_module import CrossModalAlignmentModule
from .film_fusion import FiLMFusion

__all__ = ['CrossModalAlignmentModule', 'FiLMFusion']
