"""Using trained models from Python."""

from mmmagnet.utils.images import read_image
from mmmagnet.visualization import ReferringResult, ResultFolder

from .inferencer import ReferringInferencer

__all__ = ['ReferringInferencer', 'ReferringResult', 'ResultFolder', 'read_image']
