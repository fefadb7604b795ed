"""Necks: fusion of an image encoder and a text encoder, after each stage."""

from .cross_modal_alignment_module import CrossModalAlignmentModule
from .film_fusion import FiLMFusion
from .fusion_neck import FusionNeck

__all__ = ['CrossModalAlignmentModule', 'FiLMFusion', 'FusionNeck']
