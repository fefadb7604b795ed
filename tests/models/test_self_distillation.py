"""MaskRIS: what is masked, what is distilled, and every network's step with it."""

import pytest
import torch
import torch.nn.functional as F
from networks import build_small, make_small, read_config, small_batch
from torch import nn

from mmmagnet.models.self_distillation import MaskRIS, running_statistics_kept
from mmmagnet.registry import MODELS

CONFIGS = {
    'caris': 'caris/caris_swin_b_maskris.py',
    'cris': 'cris/cris_r50_maskris.py',
    'detris': 'detris/detris_vitb_maskris.py',
    'lavt': 'lavt_swin_b_maskris.py',
    'magnet': 'magnet_swin_b_maskris.py',
    'rela': 'rela/rela_swin_b_maskris.py',
}


@pytest.mark.parametrize(('ratio', 'visible'), [(0.75, 3), (0.5, 6), (0, 12), (1, 0)])
def test_mask_image(ratio, visible):
    masked = MaskRIS(100, 4, patch_size=8, image_ratio=ratio).mask_image(torch.ones(20, 3, 24, 32))
    patches = masked.view(20, 3, 3, 8, 4, 8).permute(0, 2, 4, 1, 3, 5).flatten(3)
    assert torch.equal(patches.amin(3), patches.amax(3))  # whole patches, all channels
    assert (patches.amax(3).sum((1, 2)) == visible).all()
    if 0 < ratio < 1:
        assert len(patches.amax(3).flatten(1).unique(dim=0)) > 5  # each image its own


def test_patches_divide_the_image():
    with pytest.raises(ValueError, match='patch_size=32 does not divide the image of 48 x 64'):
        MaskRIS(100, 4).mask_image(torch.ones(1, 3, 48, 64))


def test_mask_words():
    torch.manual_seed(0)
    ids = torch.tensor([[2, 10, 11, 12, 3, 0, 0]]).repeat(4000, 1)
    masked = MaskRIS(1000, 4, word_ratio=0.3).mask_words(ids, (ids > 0).long())
    assert torch.equal(masked[:, [0, 4, 5, 6]], ids[:, [0, 4, 5, 6]])
    words, original = masked[:, 1:4], ids[:, 1:4]
    assert (words == 4).float().mean().item() == pytest.approx(0.3 * 0.8, abs=0.02)
    assert ((words != 4) & (words != original)).float().mean().item() == pytest.approx(0.3 * 0.1, abs=0.01)
    assert torch.equal(MaskRIS(1000, None, word_ratio=0).mask_words(ids, (ids > 0).long()), ids)


@pytest.mark.parametrize('channels', [1, 2])
def test_loss(channels):
    teacher, student = torch.randn(2, channels, 6, 7, requires_grad=True), torch.randn(2, channels, 6, 7)
    student.requires_grad_()
    head = MaskRIS(100, 4, seg_weight=0.3)
    losses = head.loss({'decode.loss_ce': torch.tensor(2.0), 'decode.acc': torch.tensor(9.0)}, teacher, student)
    assert losses['decode.loss_ce'] == pytest.approx(0.6) and losses['decode.acc'] == 9
    two = [
        logits if channels == 2 else torch.cat([torch.zeros_like(logits), logits], 1) for logits in (teacher, student)
    ]
    # divided by the number of pixels: not the weighted mean of F.cross_entropy
    expected = F.cross_entropy(two[1], two[0].softmax(1).detach(), weight=torch.tensor([0.9, 1.1]), reduction='sum')
    torch.testing.assert_close(losses['loss_distillation'], 0.7 * expected / (2 * 6 * 7))
    losses['loss_distillation'].backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(image_ratio=1.5), 'image_ratio=1.5: expected 0 to 1'),
        (dict(masked_share=0.8, random_share=0.3), 'a sum of at most 1'),
        (dict(mask_token_id=None), 'no known .MASK.'),
    ],
)
def test_bad_values(changed, message):
    with pytest.raises(ValueError, match=message):
        MaskRIS(**{'vocab_size': 100, 'mask_token_id': 4, **changed})


def test_running_statistics_stay():
    norm = nn.BatchNorm2d(3)
    with running_statistics_kept(norm):
        norm(torch.randn(4, 3, 5, 5) + 7)
    assert torch.equal(norm.running_mean, torch.zeros(3)) and norm.momentum == 0.1
    norm(torch.randn(4, 3, 5, 5) + 7)
    assert norm.running_mean.min() > 0


@pytest.mark.parametrize('name', CONFIGS.values(), ids=CONFIGS)
def test_every_network_takes_steps(name):
    torch.manual_seed(0)
    model = build_small(name)
    batch = model.data_preprocessor(small_batch(), training=True)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    for _ in range(2):  # what starts at zero lets gradients pass from the second step on
        losses = model.loss(batch['inputs'], batch['data_samples'])
        optimizer.zero_grad()
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        missing = [key for key, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
        assert missing == [] and losses['loss_distillation'] > 0
        optimizer.step()
    assert ('loss_grounding' in losses) == ('magnet' in name)


def test_one_masked_run_serves_mask_grounding(monkeypatch):
    model = build_small(CONFIGS['magnet'])
    batch = model.data_preprocessor(small_batch(), training=True)
    seen = []
    extract = model.extract_feat
    monkeypatch.setattr(model, 'extract_feat', lambda *args: seen.append(args) or extract(*args))
    model.loss(batch['inputs'], batch['data_samples'])
    (image, ids, *_), (masked_image, masked_ids, *_) = seen
    assert torch.equal(image, batch['inputs']) and (masked_image == 0).float().mean() > 0.5
    assert (masked_ids == 4).any() and not (ids == 4).any()


def test_mask_grounding_needs_the_masked_run():
    config = read_config('magnet_swin_b_maskris.py').model
    config.auxiliary_head[0].extra_masked_pass = False
    make_small(config)
    with pytest.raises(ValueError, match='set extra_masked_pass=True'):
        MODELS.build(config)
