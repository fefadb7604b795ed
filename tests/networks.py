"""Every network of configs/, made small: its kinds of parts and how they hang together stay."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.functional import pad

import mmmagnet  # noqa: F401
from mmmagnet.registry import MODELS

CONFIGS = Path(__file__).parents[1] / 'configs'
VOCABULARY = 160  # that of the synthetic set's tokenizer, where [MASK] is 4

# what makes a part small, by its type
SMALL = {
    'StagedSwin': dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4, pretrained=None),
    'SwinTransformer': dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4, init_cfg=None),
    'MixVisionTransformer': dict(embed_dims=8, num_layers=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), init_cfg=None),
    'ResNetV1c': dict(depth=18, base_channels=8, stem_channels=8, init_cfg=None),
    'mmpretrain.ConvNeXt': dict(arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]), init_cfg=None),
    'StagedBert': dict(mask_token_id=4, pretrained=None),
    'StagedClipText': dict(pretrained=None),
    'MagNetHead': dict(
        feat_channels=16,
        num_heads=2,
        num_groups=4,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=16,
        decoder_layers=1,
        decoder_ffn=16,
    ),
    'ReLAHead': dict(
        feat_channels=16,
        num_queries=16,
        num_heads=2,
        num_groups=4,
        pixel_decoder_layers=1,
        pixel_decoder_ffn=16,
        decoder_layers=1,
        decoder_ffn=16,
    ),
    'CARISHead': dict(feat_channels=16, num_layers=1, num_heads=2, num_groups=4),
    'CLIPResNet': dict(depths=(1, 1, 1, 1), width=8, embed_dims=16, pretrain_size=64, pretrained=None),
    'CRISNeck': dict(widths=(8, 16, 16)),
    'CRISHead': dict(num_layers=1, num_heads=2, ffn_width=16),
    'AdaptedDINOv2': dict(
        embed_dims=16,
        depth=4,
        num_heads=2,
        patch_size=16,
        pretrain_size=64,
        adapter_width=16,
        adapter_blocks=(1, 3),
        adapter_cross_width=8,
        adapter_heads=2,
        out_blocks=(1, 2),
        pretrained=None,
    ),
    'DETRISNeck': dict(width=16),
    'UPerHead': dict(channels=8),
    'SegformerHead': dict(channels=8),
    'FCNHead': dict(channels=8),
    'MaskGroundingHead': dict(mask_prob=0.5, num_heads=2, num_layers=1, width=16, ffn_width=16),
}
# of any text encoder
WORDS = dict(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16)


def needs_extra(config):
    """Whether a config's backbone is of mmpretrain, which is not installed."""
    return config.model.backbone.type.startswith('mmpretrain.') and find_spec('mmpretrain') is None


def read_config(name):
    """A config by its path in configs/; the test is skipped where it needs an extra that is not installed."""
    config = Config.fromfile(CONFIGS / name)
    if needs_extra(config):
        pytest.skip('mmpretrain is not installed')
    init_default_scope('mmseg')
    return config


def make_small(model):
    """Shrink the parts of a model's config in place."""
    heads = model.get('auxiliary_head') or []
    for part in (model.backbone, model.get('text_encoder'), model.get('neck'), model.decode_head, *heads):
        if part is not None:
            part.update(SMALL.get(part.type, {}))
    if 'text_encoder' in model:
        model.text_encoder.config.update(WORDS)
        ends = model.text_encoder.get('stage_ends', (3, 6, 9, 12))
        model.text_encoder.stage_ends = tuple(round(4 * end / ends[-1]) for end in ends)
        for name, value in dict(
            trained_layers=3, sentence_channels=16, adapter_layers=(1, 3), adapter_width=16
        ).items():
            if name in model.text_encoder:
                model.text_encoder[name] = value
    elif 'in_channels' in model.decode_head:
        model.decode_head.in_channels = (8, 16, 32, 64)


def build_small(name):
    """The small network of a config."""
    config = read_config(name)
    make_small(config.model)
    return MODELS.build(config.model)


def network_names():
    """Configs of all structures, numbers aside, as paths in configs/; those that need an extra are left out."""
    found = {}
    for path in sorted(CONFIGS.rglob('*.py')):
        name = path.relative_to(CONFIGS).as_posix()
        if name.startswith('_base_') or path.name.startswith('grid'):
            continue
        config = Config.fromfile(path)
        if not needs_extra(config):
            make_small(config.model)
            found.setdefault(repr(structure_of(config.model.to_dict())), name)
    return list(found.values())


def structure_of(part):
    """Types and switches of a model's config."""
    if isinstance(part, dict):
        kept = {key: structure_of(value) for key, value in sorted(part.items())}
        return {key: value for key, value in kept.items() if value is not None}
    if isinstance(part, (list, tuple)):
        return [structure_of(value) for value in part] or None
    return part if isinstance(part, (str, bool)) else None


def small_batch(batch=2, size=64, length=8):
    """What a dataloader gives: uint8 images, `[CLS] words [SEP] pads` and one rectangle as the mask."""
    samples = []
    for index in range(batch):
        words = torch.randint(5, VOCABULARY, (3 + index,))
        expression = torch.cat([torch.tensor([2]), words, torch.tensor([3])])
        pads = length - len(expression)
        sample = SegDataSample(metainfo=dict(ori_shape=(50, 70), img_shape=(size, size)))
        sample.input_ids, sample.word_mask = pad(expression, (0, pads)), pad(torch.ones_like(expression), (0, pads))
        mask = torch.zeros(1, size, size, dtype=torch.uint8)
        mask[0, 8 : 40 + 8 * index, 16:48] = 1
        sample.gt_sem_seg = PixelData(data=mask)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(batch)]
    return {'inputs': images, 'data_samples': samples}
