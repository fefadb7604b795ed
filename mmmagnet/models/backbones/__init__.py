"""Image encoders in stages: `stem`, `forward_stage(i, .)`, `downsample(i, .)` on maps (B, H_i, W_i, C_i)."""

from .staged_backbone import StagedBackbone, build_image_encoder
from .staged_swin import StagedSwin

__all__ = ['StagedBackbone', 'StagedSwin', 'build_image_encoder']
