"""Transforms of a referring set; everything else in a pipeline is mmcv's and mmseg's."""

from .expression import SampleExpression, TokenizeExpression
from .flip import ReferringRandomFlip
from .letterbox import Letterbox
from .load_image import LoadReducedImage
from .load_mask import LoadReferringMask
from .packing import PackReferringInputs

__all__ = [
    'Letterbox',
    'LoadReducedImage',
    'LoadReferringMask',
    'PackReferringInputs',
    'ReferringRandomFlip',
    'SampleExpression',
    'TokenizeExpression',
]
