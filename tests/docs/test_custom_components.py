"""docs/custom_components.md: its config without text, its backbone of mmpretrain, and its decode head."""

from __future__ import annotations

import pytest
import torch
from blocks import ROOT, block_with
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmmagnet.registry import MODELS

PAGE = 'docs/custom_components.md'


def settings_of(words):
    """What a config block sets."""
    settings: dict = {}
    exec(block_with(PAGE, words), settings)
    return settings


def test_foreign_config(tmp_path):
    path = tmp_path / 'foreign.py'
    path.write_text(block_with(PAGE, "type='EncoderDecoder'"))
    config = Config.fromfile(path)
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    sample = SegDataSample(metainfo=dict(ori_shape=(40, 56), img_shape=(64, 64)))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 64, 64, dtype=torch.long))
    batch = dict(inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)] * 2, data_samples=[sample, sample.clone()])
    data = model.data_preprocessor(batch, training=True)
    losses = model.loss(**data)
    assert all(torch.isfinite(value).all() for value in losses.values())
    predictions = model.eval().predict(data['inputs'], data['data_samples'])
    assert predictions[0].pred_sem_seg.shape == (40, 56)


def test_convnext(tiny_config):
    pytest.importorskip('mmpretrain', reason="the extra 'backbones' is not installed")
    backbone = settings_of('mmpretrain.ConvNeXt')['model']['backbone']
    assert backbone.pop('_delete_')
    model = MODELS.build(
        {**tiny_config, 'backbone': {**backbone, 'arch': dict(depths=[1] * 4, channels=[8, 16, 24, 32])}}
    )
    assert tuple(model.backbone.out_channels) == (8, 16, 24, 32)


def test_own_head(tiny_config, tiny_batch, tmp_path, monkeypatch):
    """The head and its config, on the miniature's encoders."""
    (tmp_path / 'my_head.py').write_text(block_with(PAGE, 'class KernelHead'))
    config = block_with(PAGE, "type='KernelHead'").replace('magnet_swin_b.py', str(ROOT / 'configs/magnet_swin_b.py'))
    (tmp_path / 'my_config.py').write_text(config)
    monkeypatch.syspath_prepend(tmp_path)
    own = Config.fromfile(tmp_path / 'my_config.py').model
    torch.manual_seed(0)
    model = MODELS.build({**tiny_config, 'decode_head': own.decode_head, 'auxiliary_head': own.auxiliary_head})
    inputs, samples = tiny_batch()
    optimizer = torch.optim.Adam([part for part in model.parameters() if part.requires_grad], lr=1e-3)
    history = []
    for _ in range(6):
        loss = sum(value for name, value in model.loss(inputs, samples).items() if 'loss' in name)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0]
    assert model.decode_head.kernel.weight.grad.any()
    masks = [sample.seg_logits.data for sample in model.eval().predict(inputs, samples)]
    assert not torch.equal(*masks)
