"""Early fusion by the mean of the words, against its formula, and with auxiliary heads on a head of mmseg."""

import pytest
import torch

from mmmagnet.models.necks import FiLMFusion
from mmmagnet.registry import MODELS

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


def test_formula():
    neck = FiLMFusion((4, 6), 5)
    image, words = torch.randn(2, 3, 2, 6), torch.randn(2, 4, 5)
    feature, fused, same = neck.fuse(1, image, words, MASK)
    assert fused.equal(image)  # starts as no fusion
    torch.nn.init.normal_(neck.conditions[1].weight)
    torch.nn.init.normal_(neck.conditions[1].bias)
    feature, fused, same = neck.fuse(1, image, words, MASK)
    for row, real in ((0, 3), (1, 4)):
        condition = neck.conditions[1](words[row, :real].mean(0))
        expected = (1 + condition[:6]) * image[row] + condition[6:]
        torch.testing.assert_close(fused[row], expected)
    assert feature.equal(fused.permute(0, 3, 1, 2))
    assert same is words
    words[0, 3] = 9.0  # a pad
    torch.testing.assert_close(neck.fuse(1, image, words, MASK)[1], fused)


@pytest.mark.parametrize('heads', [False, True])
def test_with_a_head_of_mmseg(heads, tiny_config, tiny_batch):
    config = {
        **tiny_config,
        'neck': dict(type='FiLMFusion'),
        'decode_head': dict(
            type='UPerHead', in_index=(0, 1, 2, 3), channels=16, num_classes=2, norm_cfg=dict(type='BN')
        ),
    }
    config['text_encoder']['stage_ends'] = (4, 4, 4, 4)
    if not heads:
        config['auxiliary_head'] = None
    model = MODELS.build(config)
    inputs, samples = tiny_batch()
    losses = model.loss(inputs, samples)
    assert ('loss_grounding' in losses) == ('loss_align' in losses) == heads
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    model.eval()
    with torch.no_grad():
        assert model.predict(inputs, samples)[0].pred_sem_seg.shape == (50, 70)
