"""Expressions that mean nothing in their image: training and prediction, from a prepared set to scores."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from PIL import Image

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.evaluation import ReferringSegMetric
from mmmagnet.registry import MODELS

COLORS = {'red': (220, 40, 40), 'blue': (40, 60, 220)}
SIZE, STEPS = 32, 48
PIPELINE = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=False, backend='pillow'),
    dict(type='LoadReferringMask', allow_empty=True),
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer='package://mmmagnet/datasets/synthetic/tokenizer', max_length=6),
    dict(type='PackReferringInputs'),
]


@pytest.fixture
def data_root(tmp_path):
    """Four images of one square, red or blue; half of the expressions name the other colour."""
    rng = np.random.default_rng(0)
    (tmp_path / 'images').mkdir()
    refs, images, annotations = [], [], []
    for index in range(4):
        color = list(COLORS)[index % 2]
        left, top = (int(number) for number in rng.integers(0, SIZE - 14, 2))
        image = np.full((SIZE, SIZE, 3), 90, np.uint8)
        image[top : top + 14, left : left + 14] = COLORS[color]
        Image.fromarray(image).save(tmp_path / 'images' / f'{index}.png')
        images.append({'id': index, 'file_name': f'{index}.png', 'width': SIZE, 'height': SIZE})
        polygon = [left, top, left + 14, top, left + 14, top + 14, left, top + 14]
        annotations.append({'id': index, 'image_id': index, 'category_id': 1, 'segmentation': [polygon]})
        for named in COLORS:
            sentence = {'sent_id': len(refs), 'raw': f'the {named} square'}
            ref = {'ref_id': len(refs), 'image_id': index, 'ann_ids': [index] if named == color else []}
            refs.append({**ref, 'category_id': 1, 'split': 'val', 'sentences': [sentence]})
    instances = {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'square'}]}
    (tmp_path / 'instances.json').write_text(json.dumps(instances))
    (tmp_path / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    return tmp_path


def build(config):
    torch.manual_seed(0)
    config['data_preprocessor'] = dict(
        type='SegDataPreProcessor', mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4], bgr_to_rgb=True, size_divisor=1
    )
    config['text_encoder']['config'].update(vocab_size=160)
    del config['auxiliary_head']
    config['backbone'].update(embed_dims=16)
    config['decode_head'].update(no_target=True)
    return MODELS.build(config)


def test_it_learns_what_is_there(tiny_config, data_root):
    model = build(tiny_config)
    dataset = RefCOCODataset(str(data_root), 'val', pipeline=PIPELINE, test_mode=True)
    batch = pseudo_collate(list(dataset))
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    history = [model.train_step(batch, wrapper) for _ in range(STEPS)]
    assert all(value.isfinite().all() for logged in history for value in logged.values())
    assert history[-1]['loss'] < 0.3 * history[0]['loss']
    assert history[-1]['decode.loss_target'] < 0.3 * history[0]['decode.loss_target']

    model.eval()
    with torch.no_grad():
        samples = model.test_step(batch)
    metric = ReferringSegMetric(resolution=['input', 'original'])
    metric.process(None, [sample.to_dict() for sample in samples])
    scores = metric.evaluate(8)
    assert scores['ref/N-acc'] >= 75
    assert scores['ref/T-acc'] >= 75
    assert scores['ref/gIoU'] > scores['ref/mIoU'] + 30
    for sample in samples:
        assert isinstance(sample.target_score, torch.Tensor)
        assert 0 <= sample.target_score <= 1
        if sample.target_score < 0.5:
            assert not sample.pred_sem_seg.data.any()

    model.decode_head.target_threshold = 1.01  # nothing is there, say the scores
    with torch.no_grad():
        samples = model.test_step(batch)
    assert not any(sample.pred_sem_seg.data.any() or (sample.seg_logits.data > 0).any() for sample in samples)


def test_a_model_that_takes_the_target_for_granted_has_no_score(tiny_config, tiny_batch):
    samples = MODELS.build(tiny_config).eval().predict(*tiny_batch())
    assert 'target_score' not in samples[0]


def test_auxiliary_heads_survive_empty_masks(tiny_config, tiny_batch):
    """A batch without any target: the mask's centre and the alignment have nothing to hold on to."""
    tiny_config['auxiliary_head'][0].update(mask_prob=1.0)
    model = MODELS.build(tiny_config)
    inputs, samples = tiny_batch()
    for sample in samples:
        sample.gt_sem_seg.data.zero_()
    losses = model.loss(inputs, samples)
    model.parse_losses(losses)[0].backward()
    assert all(value.isfinite() for value in losses.values())
    assert losses['loss_align'].item() == 0
    assert losses['loss_grounding'].item() > 0
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
