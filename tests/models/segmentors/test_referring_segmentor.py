"""The whole network, in miniature: its losses and its masks."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.functional import interpolate, pad

from mmmagnet.models.aux_heads import AuxiliaryHeads, AuxiliaryInputs
from mmmagnet.registry import MODELS


def build(config, **grounding):
    torch.manual_seed(0)
    if grounding:
        config['auxiliary_head'][0].update(grounding)
    return MODELS.build(config)


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


def test_features_are_the_loop_over_stages(tiny_config, tiny_batch):
    """Alignment modules read what the stages gave. The image is downsampled between stages only."""
    model = build(tiny_config).eval()
    inputs, samples = tiny_batch()
    ids, mask = (torch.stack([getattr(sample, name) for sample in samples]) for name in ('input_ids', 'word_mask'))
    features = model.extract_feat(inputs, ids, mask)
    image, words = model.backbone.patch_embed(inputs), model.text_encoder.embeddings(ids)
    for stage, expected in enumerate(features.maps):
        image = model.backbone.stages[stage](image)
        words = model.text_encoder.forward_stage(stage, words, mask)
        feature, image, words = model.neck.stages[stage](image, words, mask)
        torch.testing.assert_close(feature, expected)
        assert feature.shape == (2, 32 * 2**stage, 16 // 2**stage, 16 // 2**stage)
        if stage < 3:
            image = model.backbone.downsamples[stage](image)
    torch.testing.assert_close(features.image, image)
    torch.testing.assert_close(features.words, words)


@pytest.mark.parametrize('mode', [False, True, None])
def test_losses(mode, tiny_config, tiny_batch):
    if mode is None:
        del tiny_config['auxiliary_head']
    model = build(tiny_config, **({'extra_masked_pass': mode} if mode is not None else {}))
    losses = model.loss(*tiny_batch())
    names = {'decode.loss_bce', 'decode.loss_dice'}
    assert losses.keys() == (names if mode is None else names | {'loss_grounding', 'acc_grounding', 'loss_align'})
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    parsed, _ = model.parse_losses(losses)
    torch.testing.assert_close(parsed, total(losses))


def test_pads_change_no_mask(tiny_config, tiny_batch):
    model = build(tiny_config).eval()
    with torch.no_grad():
        for fusion in model.neck.stages:  # open the text gates, which start shut
            fusion.text_gate.outer.weight.normal_()
        inputs, samples = tiny_batch(length=8)
        before = model.encode_decode(inputs, samples)
        for sample in samples:
            sample.set_data(
                dict(
                    input_ids=pad(torch.where(sample.word_mask == 1, sample.input_ids, 9), (0, 5), value=11),
                    word_mask=pad(sample.word_mask, (0, 5)),
                )
            )
        after = model.encode_decode(inputs, samples)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


@pytest.mark.parametrize('original', [(50, 70), (64, 64), (90, 33, 3)])
def test_predict(original, tiny_config, tiny_batch):
    model = build(tiny_config).eval()
    inputs, samples = tiny_batch(original=original)
    with torch.no_grad():
        results = model.predict(inputs, samples)
        logits = model.encode_decode(inputs, samples)
    assert results[0] is samples[0]
    for sample, logit in zip(results, logits, strict=True):
        assert sample.seg_logits.data.shape == (1, 64, 64)
        assert sample.seg_logits.data.equal(logit)
        full = interpolate(logit[None], original[:2], mode='bilinear', align_corners=False)[0]
        assert sample.pred_sem_seg.data.dtype == torch.uint8
        assert sample.pred_sem_seg.data.equal((full.sigmoid() > 0.5).to(torch.uint8))
        inside = full.sigmoid()[full > 0]
        torch.testing.assert_close(sample.score, inside.mean() if len(inside) else torch.tensor(0.0))


def test_expression_matters(tiny_config, tiny_batch):
    model = build(tiny_config).eval()
    inputs, samples = tiny_batch()
    before = model.encode_decode(inputs, samples)
    samples[0].input_ids[1] += 1
    after = model.encode_decode(inputs, samples)
    assert not after[0].allclose(before[0])
    torch.testing.assert_close(after[1], before[1])


def test_prediction_masks_no_words(tiny_config, tiny_batch, monkeypatch):
    model = build(tiny_config, mask_prob=1.0).eval()
    monkeypatch.setattr(model.auxiliary_head[0], 'mask_words', None)
    model.predict(*tiny_batch())


@pytest.mark.parametrize('call', ['loss', 'predict', '_forward'])
@pytest.mark.parametrize('missing', ['input_ids', 'word_mask', 'samples'])
def test_without_words(call, missing, tiny_config, tiny_batch):
    model = build(tiny_config)
    inputs, samples = tiny_batch()
    if missing == 'samples':
        samples = []
    else:
        delattr(samples[1], missing)
    with pytest.raises(ValueError, match='TokenizeExpression and PackReferringInputs are missing in the pipeline'):
        getattr(model, call)(inputs, samples)


def test_encoders_of_different_length(tiny_config):
    tiny_config['text_encoder']['stage_ends'] = (1, 2, 4)
    with pytest.raises(ValueError, match='backbone has 4 stages and text_encoder 3: set as many stage_ends'):
        MODELS.build(tiny_config)


def test_unknown_part(tiny_config):
    tiny_config['neck']['type'] = 'NoSuchNeck'
    with pytest.raises(KeyError, match='NoSuchNeck is not registered: name its package in custom_imports'):
        MODELS.build(tiny_config)


def test_widths_are_discovered(tiny_config):
    tiny_config['backbone'].update(embed_dims=16)
    tiny_config['text_encoder']['config'].update(hidden_size=24, vocab_size=33)
    tiny_config['decode_head'].update(feat_channels=16)
    model = MODELS.build(tiny_config)
    grounding, alignment = model.auxiliary_head
    assert model.neck.out_channels == (16, 32, 64, 128)
    assert (grounding.image_proj.in_features, grounding.image_proj.out_features) == (128, 24)
    assert (grounding.classifier.out_features, grounding.mask_token_id) == (33, 4)
    assert (alignment.word_proj.in_features, alignment.word_proj.out_features) == (24, 16)


def test_one_auxiliary_head_as_a_dict(tiny_config, tiny_batch):
    tiny_config['auxiliary_head'] = tiny_config['auxiliary_head'][1]
    losses = build(tiny_config).loss(*tiny_batch())
    assert losses.keys() == {'decode.loss_bce', 'decode.loss_dice', 'loss_align'}


@pytest.mark.parametrize('labels', [torch.int64, torch.uint8])
def test_heads_of_mmseg(labels, tiny_config, tiny_batch):
    """A stock decode head with two classes, and a stock auxiliary head."""
    common = dict(num_classes=2, norm_cfg=dict(type='BN'), align_corners=False)
    widths = [32, 64, 128, 256]  # not discovered: the constructors of these heads name no in_channels
    tiny_config['decode_head'] = dict(
        type='SegformerHead', in_channels=widths, in_index=[0, 1, 2, 3], channels=16, **common
    )
    tiny_config['auxiliary_head'] = [
        dict(type='MaskGroundingHead', mask_prob=0.5, num_layers=1, num_heads=4),
        dict(type='FCNHead', in_channels=128, in_index=2, channels=8, num_convs=1, **common),
    ]
    model = build(tiny_config)
    inputs, samples = tiny_batch()
    for sample in samples:
        sample.gt_sem_seg.data = sample.gt_sem_seg.data.to(labels)
    losses = model.loss(inputs, samples)
    assert {'decode.loss_ce', 'loss_grounding', 'aux_1.loss_ce'} <= losses.keys()
    total(losses).backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []
    model.eval()
    with torch.no_grad():
        maps = model._features_of(inputs, samples).maps
        two = model.decode_head.head.predict(maps, [dict(img_shape=(64, 64))] * 2, None)
        torch.testing.assert_close(model.encode_decode(inputs, samples), two[:, 1:] - two[:, :1])


def heard(model, inputs, samples, monkeypatch):
    """Ids that the text encoder is given in a training step, and those that were masked for it."""
    given, masked = [], []
    stem, mask_words = model.text_encoder.stem, model.auxiliary_head[0].mask_words

    def listening_stem(ids, mask):
        given.append(ids)
        return stem(ids, mask)

    def listening_mask_words(*arguments):
        masked.append(mask_words(*arguments))
        return masked[-1]

    monkeypatch.setattr(model.text_encoder, 'stem', listening_stem)
    monkeypatch.setattr(model.auxiliary_head[0], 'mask_words', listening_mask_words)
    losses = model.loss(inputs, samples)
    return torch.cat(given), masked[0], losses


def test_joint_masked_words_go_through_the_encoders(tiny_config, tiny_batch, monkeypatch):
    model = build(tiny_config, mask_prob=1.0, unmasked_prob=0.0)
    inputs, samples = tiny_batch()
    ids = torch.stack([sample.input_ids for sample in samples])
    given, masked, _ = heard(model, inputs, samples, monkeypatch)
    assert given.equal(masked.input_ids)
    assert given.equal(torch.where(ids > 4, 4, ids))


def test_separate_pass_leaves_the_segmentation_alone(tiny_config, tiny_batch, monkeypatch):
    model = build(tiny_config, mask_prob=1.0, unmasked_prob=0.0, extra_masked_pass=True)
    inputs, samples = tiny_batch()
    ids = torch.stack([sample.input_ids for sample in samples])
    given, masked, losses = heard(model, inputs, samples, monkeypatch)
    assert given.equal(torch.cat([ids, masked.input_ids]))
    assert not masked.input_ids.equal(ids)

    grounding, alignment = model.auxiliary_head
    model.auxiliary_head = AuxiliaryHeads([alignment])
    torch.testing.assert_close(losses['decode.loss_bce'], model.loss(inputs, samples)['decode.loss_bce'])
    torch.testing.assert_close(losses['decode.loss_dice'], model.loss(inputs, samples)['decode.loss_dice'])
    torch.testing.assert_close(losses['loss_align'], model.loss(inputs, samples)['loss_align'])

    truth = torch.stack([sample.gt_sem_seg.data for sample in samples])
    word_mask = torch.stack([sample.word_mask for sample in samples])
    features = model.extract_feat(inputs, masked.input_ids, word_mask)
    given = dict(words=features.words, word_mask=word_mask, image=features.image, gt_masks=truth)
    given.update(masked_words=masked, grounded_words=features.words, grounded_image=features.image)
    expected = grounding.loss(AuxiliaryInputs(**given))
    torch.testing.assert_close(losses['loss_grounding'], expected['loss_grounding'])


def test_preprocessor_and_train_step(tiny_config):
    """MMEngine's entry: raw uint8 images in, one optimizer step."""
    tiny_config['data_preprocessor'] = dict(
        type='SegDataPreProcessor', mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True, size_divisor=1
    )
    model = build(tiny_config)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(50, 70)))
    sample.set_data(dict(input_ids=torch.tensor([2, 7, 8, 3, 0]), word_mask=torch.tensor([1, 1, 1, 1, 0])))
    sample.gt_sem_seg = PixelData(data=torch.ones(1, 64, 64, dtype=torch.uint8))
    data = dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)] * 2, data_samples=[sample] * 2)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    logged = model.train_step(data, wrapper)
    assert logged['loss'].isfinite()
    predicted = model.eval().test_step(dict(inputs=data['inputs'], data_samples=[sample.clone() for _ in range(2)]))
    assert predicted[0].pred_sem_seg.data.shape == (1, 50, 70)


@pytest.mark.parametrize('name', ['pretrained', 'train_cfg'])
def test_what_mmseg_sets_to_none(name, tiny_config):
    """`mmseg.apis.init_model` does, in every config."""
    build({**tiny_config, name: None})
    with pytest.raises(ValueError, match=f'{name}=.*: set model.backbone.pretrained'):
        build({**tiny_config, name: 'swin.pth'})
