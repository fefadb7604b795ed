"""Necks: fusion of an image encoder and a text encoder, after each stage."""

from .cris_neck import CRISNeck
from .cross_modal_alignment_module import CrossModalAlignmentModule
from .detris_neck import DETRISNeck
from .film_fusion import FiLMFusion
from .fusion_neck import FusionNeck
from .image_prompts import ImagePrompts

__all__ = ['CRISNeck', 'CrossModalAlignmentModule', 'DETRISNeck', 'FiLMFusion', 'FusionNeck', 'ImagePrompts']
