"""Segmentors."""

from .referring_segmentor import Features, ReferringSegmentor

__all__ = ['Features', 'ReferringSegmentor']
