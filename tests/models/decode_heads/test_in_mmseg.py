"""Our decode heads in an mmseg `EncoderDecoder` without text: foreground segmentation by mmseg's own code."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate

from mmmagnet.registry import MODELS

MAGNET = dict(
    type='MagNetHead',
    feat_channels=16,
    num_heads=2,
    num_groups=4,
    pixel_decoder_layers=1,
    pixel_decoder_ffn=16,
    decoder_layers=1,
    decoder_ffn=16,
)
LAVT = dict(type='LAVTHead', feat_channels=8)
SLIDE = dict(mode='slide', crop_size=(48, 64), stride=(32, 32))


def build(head, test_cfg):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[64.0] * 3, size_divisor=32),
            backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
            decode_head=dict(in_channels=(8, 16, 32, 64), **head),
            test_cfg=ConfigDict(test_cfg),
        )
    )


def batch(height=64, width=96):
    sample = SegDataSample(metainfo=dict(ori_shape=(40, 56), img_shape=(height, width)))
    truth = torch.zeros(1, height, width, dtype=torch.int64)
    truth[:, 8:40, 8:40] = 1
    sample.gt_sem_seg = PixelData(data=truth)
    images = [torch.randint(0, 256, (3, height, width), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=[sample, sample.clone()])


@pytest.mark.parametrize('head', [MAGNET, LAVT], ids=['MagNetHead', 'LAVTHead'])
def test_training_step(head):
    model = build(head, dict(mode='whole'))
    data = model.data_preprocessor(batch(), training=True)
    loss, _ = model.parse_losses(model.loss(**data))
    assert loss.isfinite()
    loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert (model.align_corners, model.num_classes) == (True, 2)


@pytest.mark.parametrize('head', [MAGNET, LAVT], ids=['MagNetHead', 'LAVTHead'])
@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize('size', [(64, 96), (70, 90)])
def test_prediction(head, test_cfg, size):
    model = build(head, test_cfg)
    model.eval()
    with torch.no_grad():
        data = model.data_preprocessor(batch(*size))
        results = model.predict(**data)
    for result in results:
        assert result.seg_logits.data.shape == (model.out_channels, 40, 56)
        assert result.pred_sem_seg.data.shape == (1, 40, 56)
        expected = result.seg_logits.data > 0.5  # of one channel mmseg makes probabilities
        assert result.pred_sem_seg.data.equal(expected.to(result.pred_sem_seg.data.dtype))


@pytest.mark.parametrize('head', [MAGNET, LAVT], ids=['MagNetHead', 'LAVTHead'])
def test_slide_is_the_crops_put_together(head):
    model = build(head, dict(mode='slide', crop_size=(64, 64), stride=(64, 32)))
    model.eval()
    with torch.no_grad():
        inputs = torch.randn(1, 3, 64, 96)
        metas = [dict(ori_shape=(64, 96), img_shape=(64, 96), pad_shape=(64, 96))]
        whole = model.slide_inference(inputs, metas)
        left, right = (
            interpolate(logits(model, crop), (64, 64), mode='bilinear', align_corners=True)
            for crop in (inputs[..., :64], inputs[..., 32:])
        )
    torch.testing.assert_close(whole[..., :32], left[..., :32])
    torch.testing.assert_close(whole[..., 32:64], (left[..., 32:] + right[..., :32]) / 2)
    torch.testing.assert_close(whole[..., 64:], right[..., 32:])


def logits(model, inputs):
    """Foreground logits at the head's own size."""
    logits = model.decode_head(model.extract_feat(inputs)).logits
    return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]
