"""docs/mask_grounding.md and the README: the entries, the segmentor with its config, and the ten lines."""

import pytest
import torch
from blocks import ROOT, block_with
from mmengine.registry import init_default_scope

from mmmagnet.models.aux_heads import AuxiliaryHeads, AuxiliaryInputs
from mmmagnet.registry import MODELS

PAGE = 'docs/mask_grounding.md'


@pytest.fixture(scope='module')
def network():
    """Config of the page's segmentor, which is registered."""
    exec(block_with(PAGE, 'class MySegmentor'), {'__name__': 'my_segmentor'})
    settings = {}
    exec(block_with(PAGE, "type='MySegmentor'"), settings)
    assert settings['model'].pop('_delete_')
    return settings['model']


@pytest.mark.parametrize(
    ('page', 'words', 'config'),
    [
        (PAGE, "_base_ = 'lavt_swin_b.py'", 'lavt_swin_b_grounding.py'),
        ('docs/custom_components.md', "type='ResNetV1c'", 'magnet_resnet50.py'),
    ],
)
def test_entries(page, words, config):
    entry = block_with(page, words)
    assert entry in (ROOT / 'configs/mix' / config).read_text().replace('../', '')
    assert len(entry.strip().splitlines()) <= 10


@pytest.mark.parametrize('heads', [False, True])
def test_segmentor(network, heads, tiny_batch):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    config = dict(network)
    if not heads:
        del config['auxiliary_head']
    model = MODELS.build(config)
    inputs, samples = tiny_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(8):
        losses = model.loss(inputs, samples)
        assert ('loss_grounding' in losses) == ('loss_align' in losses) == heads
        total = sum(value for name, value in losses.items() if name.startswith('loss'))
        optimizer.zero_grad()
        total.backward()
        assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
        optimizer.step()
        history.append(losses['loss_mask'].item())
    assert history[-1] < history[0]
    predicted = model.eval().predict(inputs, samples)[0]
    assert predicted.pred_sem_seg.shape == (50, 70)
    assert predicted.seg_logits.shape == inputs.shape[2:]


def test_lines_of_the_readme():
    """What a foreign network must add, at most ten lines of it, gives a loss that teaches words and image."""
    lines = block_with('README.md', 'AuxiliaryHeads(')
    assert len([line for line in lines.splitlines() if not line.startswith('#')]) <= 10
    words, image = torch.randn(2, 7, 768, requires_grad=True), torch.randn(2, 3, 3, 1024, requires_grad=True)
    input_ids = torch.tensor([[101, 7, 8, 9, 10, 11, 102]]).repeat(2, 1)
    network = torch.nn.Module()
    network.encoders = lambda inputs, ids, mask: (words, image)
    given = dict(self=network, AuxiliaryHeads=AuxiliaryHeads, AuxiliaryInputs=AuxiliaryInputs, input_ids=input_ids)
    given |= dict(inputs=None, word_mask=torch.ones_like(input_ids), gt_masks=torch.ones(2, 1, 8, 8), losses={})
    torch.manual_seed(0)
    exec(lines.replace('mask_prob=0.15', 'mask_prob=1.0'), given)
    given['losses']['loss_grounding'].backward()
    assert words.grad.any() and image.grad.any()
    assert len([parameter for parameter in network.parameters() if parameter.grad is not None]) > 6 * 8
