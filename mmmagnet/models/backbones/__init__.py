"""Image encoders: staged ones on maps (B, H_i, W_i, C_i), and whole ones that give a list of maps."""

from .adapted_dinov2 import AdaptedDINOv2
from .clip_resnet import CLIPResNet
from .staged_backbone import StagedBackbone, build_image_encoder
from .staged_swin import StagedSwin

__all__ = ['AdaptedDINOv2', 'CLIPResNet', 'StagedBackbone', 'StagedSwin', 'build_image_encoder']
