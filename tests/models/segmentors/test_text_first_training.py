"""CRIS and DETRIS in miniature learn, with and without Mask Grounding and the alignment loss."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmmagnet.model_converters import CRIS, DETRIS
from mmmagnet.models.aux_heads import mask_grounding_head
from mmmagnet.registry import DATASETS, MODELS
from mmmagnet.utils.config import load_config

ROOT = Path(__file__).parents[3]
KINDS = [('cris', CRIS, 64), ('detris', DETRIS, 56)]
GROUNDING = [
    dict(type='MaskGroundingHead', mask_prob=0.5, num_layers=1, num_heads=2, dropout=0.0),
    dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=16, loss_weight=0.5)),
]


def build(kind, converter, grounding):
    published = load_config(str(ROOT / 'configs' / converter.config)).model.to_dict()
    sizes = json.loads((ROOT / f'tests/data/official_parity_{kind}/arch_small.json').read_text())
    model = converter.resize(published, sizes)
    model['auxiliary_head'] = [dict(head) for head in GROUNDING] if grounding else []
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(model)


def batch(side, soft):
    """Four images with a square each, soft at its border or not, and their words."""
    images, samples = torch.randn(4, 3, side, side), []
    for index in range(4):
        mask = torch.zeros(1, side, side)
        top = 4 + 6 * index
        mask[:, top : top + 28, 8:40] = 1
        images[index] += 2 * mask
        if soft:
            mask = torch.nn.functional.avg_pool2d(mask, 3, 1, 1)
        sample = SegDataSample(metainfo=dict(ori_shape=(side, side), img_shape=(side, side)))
        sample.gt_sem_seg = PixelData(data=mask if soft else mask.long())
        sample.input_ids = torch.tensor([198, *range(5 + index, 10 + index), 199, 0, 0])
        sample.word_mask = torch.tensor([1] * 7 + [0] * 2)
        samples.append(sample)
    return images, samples


def total(losses):
    return sum(value for name, value in losses.items() if 'loss' in name)


@pytest.mark.parametrize('grounding', [False, True])
@pytest.mark.parametrize(('kind', 'converter', 'side'), KINDS)
def test_learns(kind, converter, side, grounding, monkeypatch):
    model = build(kind, converter, grounding).train()
    data = batch(side, soft=True)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    decoding, grounded = [], []
    for step in range(10):
        optimizer.zero_grad()
        torch.manual_seed(step)
        losses = model.loss(*data)
        total(losses).backward()
        decoding.append(losses['decode.loss_bce'].item())
        grounded.append(losses.get('loss_grounding', torch.zeros(())).item())
        lacking = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
        assert lacking == []
        optimizer.step()
    assert decoding[-1] < 0.7 * decoding[0]
    if grounding:
        assert sum(grounded[-3:]) < 0.9 * sum(grounded[:3])
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert not moved & frozen
    encoders = {name for name in before if name.startswith(('backbone.', 'text_encoder.'))}
    if kind == 'cris':
        assert not frozen
    else:  # adapters and [MASK] alone
        own = {name for name in encoders if 'adapter' in name or name == 'text_encoder.mask_embedding'}
        assert frozen == encoders - own
    # a masked word is its own embedding, which only Mask Grounding puts in and so moves
    assert ('text_encoder.mask_embedding' in moved) == grounding


@pytest.mark.parametrize(('kind', 'converter', 'side'), KINDS)
def test_what_mask_grounding_reads(kind, converter, side, monkeypatch):
    """Words after the text encoder's last norm and the image encoder's last map; DETRIS's has read the masked words."""
    model = build(kind, converter, grounding=True).eval()
    images, samples = batch(side, soft=False)
    seen = {}
    monkeypatch.setattr(
        mask_grounding_head.MaskGroundingHead, 'loss', lambda self, inputs: seen.update(inputs=inputs) or {}
    )
    torch.manual_seed(0)
    model.loss(images, samples)
    inputs = seen['inputs']
    masked = inputs.masked_words.input_ids
    plain = torch.stack([sample.input_ids for sample in samples])
    assert (masked == model.text_encoder.mask_token_id).any()
    # start, end and pads are never masked
    assert torch.equal(masked[:, [0, 6, 7, 8]], plain[:, [0, 6, 7, 8]])
    with torch.no_grad():
        mask = inputs.word_mask
        words = model.text_encoder.forward_stage(0, model.text_encoder.stem(masked, mask), mask)
        torch.testing.assert_close(inputs.words, words)
        maps = {}
        for name, ids in (('masked', masked), ('plain', plain)):
            features = model.extract_feat(images, ids, mask)
            maps[name] = features.image
    torch.testing.assert_close(inputs.image, maps['masked'])
    assert torch.equal(maps['masked'], maps['plain']) == (kind == 'cris')


@pytest.mark.parametrize(('kind', 'converter', 'side'), KINDS)
def test_pads(kind, converter, side):
    """A pad more changes nothing in CRIS, and the mask in DETRIS, which therefore refuses to cut pads off."""
    model = build(kind, converter, grounding=False).eval()
    images, samples = batch(side, soft=False)
    ids = torch.stack([sample.input_ids for sample in samples])
    mask = torch.stack([sample.word_mask for sample in samples])
    with torch.no_grad():
        short, long = (
            model.decode_head(model.extract_feat(images, ids[:, :length], mask[:, :length])).logits for length in (7, 9)
        )
    assert torch.allclose(short, long, atol=1e-5) == (kind == 'cris')
    assert model.text_encoder.reads_padding == (kind == 'detris')


def test_pads_are_kept_for_detris():
    config = load_config(str(ROOT / 'configs' / DETRIS.config)).model.to_dict()
    config['data_preprocessor']['trim_words'] = True
    with (
        pytest.raises(ValueError, match=r'text_encoder reads padded words: set .*trim_words=False'),
        torch.device('meta'),
    ):
        MODELS.build(config)


@pytest.mark.parametrize(('kind', 'converter', 'side'), KINDS)
def test_from_files_to_masks(kind, converter, side, tmp_path):
    """The pipelines of the configs feed the network: soft masks in training, masks of the image's size in testing."""
    (tmp_path / 'images').mkdir()
    cv2.imwrite(str(tmp_path / 'images/1.png'), np.random.default_rng(0).integers(0, 255, (30, 70, 3), np.uint8))
    box = [[[9, 5, 40, 5, 40, 22, 9, 22]]]
    instances = {
        'images': [{'id': 1, 'file_name': '1.png', 'height': 30, 'width': 70}],
        'annotations': [{'id': 7, 'image_id': 1, 'category_id': 1, 'segmentation': box[0]}],
        'categories': [{'id': 1, 'name': 'thing'}],
    }
    said = [{'sent_id': 0, 'raw': 'The red circle!', 'sent': 'the red circle'}]
    refs = [
        dict(ref_id=index, image_id=1, ann_ids=[7], category_id=1, split=split, sentences=said)
        for index, split in enumerate(['train', 'val'])
    ]
    (tmp_path / 'instances.json').write_text(json.dumps(instances))
    (tmp_path / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    config = load_config(str(ROOT / 'configs' / converter.config))
    data = {}
    for name in ('train', 'val'):
        part = config[f'{name}_dataloader'].dataset.to_dict()
        for step in part['pipeline']:
            if step['type'] == 'TokenizeExpression':
                step['tokenizer'] = 'package://mmmagnet/datasets/synthetic/tokenizer'
            elif step['type'] == 'Letterbox':
                step['size'] = side
        item = DATASETS.build({**part, 'data_root': str(tmp_path)})[0]
        data[name] = {field: [value, copy.deepcopy(value)] for field, value in item.items()}
    model = build(kind, converter, grounding=True)
    batch = model.data_preprocessor(data['train'], training=True)
    target = batch['data_samples'][0].gt_sem_seg.data
    assert target.is_floating_point() and target.shape == (1, side, side)
    assert ((target > 0) & (target < 1)).any()
    corner = batch['inputs'][0, :, 0, 0]
    assert corner.abs().max() < 0.005  # the border is about the mean
    losses = model.train().loss(**batch)
    assert all(value.isfinite() for value in losses.values())
    batch = model.data_preprocessor(data['val'], training=False)
    with torch.no_grad():
        (sample, _) = model.eval().predict(**batch)
    assert (
        sample.gt_sem_seg.data.shape == sample.pred_sem_seg.data.shape == sample.probability.data.shape == (1, 30, 70)
    )
    assert sample.seg_logits.data.shape == (1, side, side)
