"""Auxiliary heads, held together by a segmentor."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmmagnet.models.aux_heads import AuxiliaryHeads, AuxiliaryInputs

KNOWN = dict(in_channels=(8,), text_channels=8, image_channels=12, feat_channels=6, vocab_size=30, mask_token_id=4)
GROUNDING = dict(type='MaskGroundingHead', mask_prob=1.0, unmasked_prob=0.0, num_layers=1, num_heads=2, dropout=0.0)


def tensors():
    return dict(
        words=torch.randn(2, 5, 8),
        word_mask=torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]),
        image=torch.randn(2, 2, 3, 12),
        gt_masks=torch.ones(2, 1, 16, 16, dtype=torch.uint8),
        mask_features=torch.randn(2, 6, 8, 8),
    )


@pytest.mark.parametrize('configs', [None, [], [dict(type='AlignmentHead')]])
def test_none_that_masks(configs):
    init_default_scope('mmseg')
    heads = AuxiliaryHeads(configs, KNOWN)
    assert heads.mask_words(torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5)) is None
    assert not heads.extra_masked_pass
    assert list(heads.loss(AuxiliaryInputs(**tensors()))) == (['loss_align'] if configs else [])


def test_heads_are_initialised():
    init_default_scope('mmseg')
    constant = dict(type='Constant', layer='Linear', val=0.5)
    stock = dict(type='FCNHead', in_channels=8, channels=4, num_classes=2)
    heads = AuxiliaryHeads([dict(type='AlignmentHead', init_cfg=constant), stock], KNOWN)
    heads.init_weights()
    assert (heads[0].word_proj.weight == 0.5).all()
    assert heads[1].head.conv_seg.weight.std() < 0.02  # mmseg's own 0.01


@pytest.mark.parametrize('mode', [False, True])
def test_both(mode):
    init_default_scope('mmseg')
    heads = AuxiliaryHeads([{**GROUNDING, 'extra_masked_pass': mode}, dict(type='AlignmentHead')], KNOWN)
    assert heads.extra_masked_pass == mode
    given = tensors()
    ids = torch.randint(5, 30, (2, 5))
    masked = heads.mask_words(ids, given['word_mask'])
    assert (masked.input_ids == 4).sum() == 2 + 3
    if mode:
        with pytest.raises(TypeError, match=r'extra_masked_pass=True: hand grounded_words .* or set extra_masked_pass'):
            heads.loss(AuxiliaryInputs(**given, masked_words=masked))
        given.update(grounded_words=given['words'], grounded_image=given['image'])
    losses = heads.loss(AuxiliaryInputs(**given, masked_words=masked))
    assert set(losses) == {'loss_grounding', 'acc_grounding', 'loss_align'}
    other = heads.loss(AuxiliaryInputs(**{**given, 'masked_words': masked, 'grounded_words': torch.randn(2, 5, 8)}))
    assert (other['loss_grounding'] != losses['loss_grounding']) == mode


def test_two_of_a_kind():
    init_default_scope('mmseg')
    heads = AuxiliaryHeads([dict(type='AlignmentHead'), dict(type='AlignmentHead')], KNOWN)
    with pytest.raises(ValueError, match='two heads give loss_align; keep one AlignmentHead'):
        heads.loss(AuxiliaryInputs(**tensors()))


def test_one_config():
    init_default_scope('mmseg')
    heads = AuxiliaryHeads(GROUNDING, KNOWN)
    assert heads[0].classifier[-1].out_features == 30
    assert set(heads.state_dict()) == {f'0.{name}' for name in heads[0].state_dict()}


def test_what_is_missing():
    init_default_scope('mmseg')
    heads = AuxiliaryHeads([dict(type='AlignmentHead')], KNOWN)
    given = tensors()
    del given['mask_features']
    with pytest.raises(TypeError, match=r'AlignmentHead reads mask_features: hand them to AuxiliaryInputs'):
        heads.loss(AuxiliaryInputs(**given))
    with pytest.raises(KeyError, match='NoHead is not registered: name its package in custom_imports'):
        AuxiliaryHeads([dict(type='NoHead')], KNOWN)
