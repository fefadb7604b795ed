"""Images of expressions and their masks."""

from .panels import contact_sheet, draw_panels, mask_iou, overlay_mask
from .referring_visualizer import ReferringVisualizer

__all__ = ['ReferringVisualizer', 'contact_sheet', 'draw_panels', 'mask_iou', 'overlay_mask']
