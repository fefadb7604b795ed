"""Referring datasets, their sampler and their transforms."""

from . import transforms
from .mixed import MixedReferringDataset
from .refcoco import RefCOCODataset
from .samplers import EpochSampler

__all__ = ['EpochSampler', 'MixedReferringDataset', 'RefCOCODataset', 'transforms']
