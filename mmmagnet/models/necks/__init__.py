"""Necks: bridges between an image tower and a text tower, one after each stage."""

from .cross_modal_alignment import CrossModalAlignment
from .sentence_fusion import SentenceFusion

__all__ = ['CrossModalAlignment', 'SentenceFusion']
