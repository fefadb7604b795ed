"""Using trained models from Python."""

from .inferencer import ReferringInferencer, ReferringResult, read_image

__all__ = ['ReferringInferencer', 'ReferringResult', 'read_image']
