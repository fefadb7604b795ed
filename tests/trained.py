"""A checkpoint as a training leaves it, of a network that runs in milliseconds."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmmagnet.registry import MODELS

SMALL = {
    'model.backbone.embed_dims': 8,
    'model.backbone.num_heads': (1, 1, 1, 1),
    'model.text_encoder.config.hidden_size': 16,
    'model.text_encoder.config.intermediate_size': 16,
    'model.decode_head.feat_channels': 16,
    'model.decode_head.pixel_decoder_layers': 1,
    'model.decode_head.decoder_layers': 1,
}


def small_settings(**changes: object) -> Config:
    """configs/magnet_tiny_synthetic.py, still smaller."""
    config = Config.fromfile(str(Path(__file__).parents[1] / 'configs' / 'magnet_tiny_synthetic.py'))
    config.merge_from_dict({**SMALL, **changes})
    return config


def write_checkpoint(folder: Path) -> Path:
    """With auxiliary heads, the config's text, and a pretrained file that is not there."""
    config = small_settings(**{'model.backbone.pretrained': 'not/there.pth'})
    init_default_scope('mmseg')
    torch.manual_seed(0)
    path = folder / 'epoch_1.pth'
    torch.save({'meta': {'cfg': config.pretty_text}, 'state_dict': MODELS.build(config.model).state_dict()}, path)
    return path
