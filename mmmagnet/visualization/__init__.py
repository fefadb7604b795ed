"""Images of expressions and masks."""

from .referring_visualizer import ReferringVisualizer, draw_panels, mask_iou, overlay_mask

__all__ = ['ReferringVisualizer', 'draw_panels', 'mask_iou', 'overlay_mask']
