"""Images of expressions and their masks."""

from .panels import contact_sheet, draw_panels, mask_iou, overlay_mask
from .referring_result import ReferringResult
from .referring_visualizer import ReferringVisualizer
from .result_folder import ResultFolder

__all__ = [
    'ReferringResult',
    'ReferringVisualizer',
    'ResultFolder',
    'contact_sheet',
    'draw_panels',
    'mask_iou',
    'overlay_mask',
]
