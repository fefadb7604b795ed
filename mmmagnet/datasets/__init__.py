"""Referring sets, their order and their transforms."""

from . import transforms
from .refcoco import RefCOCODataset
from .samplers import EpochSampler

__all__ = ['EpochSampler', 'RefCOCODataset', 'transforms']
