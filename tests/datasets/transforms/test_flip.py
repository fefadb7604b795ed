"""Mirrored images and other augmentation: by seed, epoch and index alone; off unless asked for."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmmagnet.datasets import EpochSampler, RefCOCODataset
from mmmagnet.datasets.transforms import ReferringRandomFlip

ROOT = Path(__file__).parents[3]
LOAD = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow'),
    dict(type='LoadReferringMask'),
]
SAMPLE = dict(type='SampleExpression')
LIGHT = dict(type='PhotoMetricDistortion')
PACK = [
    dict(type='TokenizeExpression', tokenizer='package://mmmagnet/datasets/synthetic/tokenizer'),
    dict(type='PackReferringInputs'),
]


def sample(expression='the left one', item_rng=None):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (4, 6, 3), np.uint8), rng.integers(0, 2, (4, 6), np.uint8)
    return {'img': image, 'gt_seg_map': mask, 'expression': expression, 'rng': item_rng or rng}


@pytest.mark.parametrize(
    ('expression', 'said', 'mirrored'),
    [
        ('the left one', 'the right one', True),
        ('the red one', 'the red one', True),
        ('right there', 'right there', False),
        (['left one', 'red one'], ['right one', 'red one'], True),
        (['left one', 'right there'], ['left one', 'right there'], False),
    ],
)
def test_image_mask_and_words_together(expression, said, mirrored):
    before, after = sample(expression), ReferringRandomFlip(prob=1.0)(sample(expression))
    assert after['expression'] == said
    for key in ('img', 'gt_seg_map'):
        expected = before[key][:, ::-1] if mirrored else before[key]
        np.testing.assert_array_equal(after[key], expected)
        assert after[key].flags.c_contiguous and after[key].dtype == np.uint8


def test_probability():
    flip = ReferringRandomFlip(prob=0.25)
    said = [flip(sample(item_rng=np.random.default_rng((3, index))))['expression'] for index in range(2000)]
    assert said == [
        'the right one' if np.random.default_rng((3, index)).random() < 0.25 else 'the left one'
        for index in range(2000)
    ]
    assert 0.2 < said.count('the right one') / len(said) < 0.3


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda results: results.pop('gt_seg_map'), 'after LoadReferringMask'),
        (lambda results: results.pop('expression'), 'after SampleExpression'),
        (lambda results: results.update(input_ids=[1]), 'before TokenizeExpression'),
    ],
)
def test_wrong_place(change, message):
    results = sample()
    change(results)
    with pytest.raises(ValueError, match=message):
        ReferringRandomFlip()(results)
    with pytest.raises(ValueError, match=r'prob=1\.5'):
        ReferringRandomFlip(prob=1.5)


def test_a_flip_that_forgets_the_words_is_noticed(prepared):
    pipeline = [*LOAD, dict(type='RandomFlip', prob=1.0), SAMPLE, *PACK]
    with pytest.raises(ValueError, match=r'1\.png: flipped by .*use ReferringRandomFlip'):
        RefCOCODataset(data_root=prepared, split='train', pipeline=pipeline)[0]


def seen(dataset, workers, epochs=12):
    """(epoch, item) -> what a training sees of it."""
    sampler = EpochSampler(dataset, seed=1)
    loader = DataLoader(
        dataset, 2, sampler=sampler, num_workers=workers, collate_fn=list, persistent_workers=workers > 0
    )
    found = {}
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in loader:
            for item in batch:
                sample = item['data_samples']
                found[epoch, sample.sample_idx] = (item['inputs'], sample.gt_sem_seg.data, sample.expression)
    return found


def same(first, second):
    return first[2] == second[2] and (first[0] == second[0]).all() and (first[1] == second[1]).all()


def test_all_follows_from_seed_epoch_and_index_alone(prepared):
    def build(*augmentation, seed=0):
        dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=[*LOAD, SAMPLE, *augmentation, *PACK])
        dataset.seed = seed
        return dataset

    flip = dict(type='ReferringRandomFlip')
    both = build(LIGHT, flip)
    expected = seen(both, 0)
    state = np.random.get_state()[1].copy()
    assert all(same(expected[key], value) for key, value in seen(both, 2).items())
    assert all(same(expected[key], value) for key, value in seen(both, 0).items())
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # a process of no workers goes on as it was
    assert not all(same(expected[key], value) for key, value in seen(build(LIGHT, flip, seed=1), 0).items())
    # other light does not change what is random in the others: words and masks are those without it
    plain = seen(build(flip), 0)
    assert all((plain[key][1] == value[1]).all() and plain[key][2] == value[2] for key, value in expected.items())
    assert {'left one', 'right one'} <= {value[2] for value in expected.values()}


def test_other_light_in_the_pipeline(prepared):
    pipelines = [*LOAD, SAMPLE, *PACK], [*LOAD, LIGHT, SAMPLE, *PACK]
    plain, light = (RefCOCODataset(data_root=prepared, split='train', pipeline=pipeline) for pipeline in pipelines)
    changed = 0
    for index in itertools.product(range(4), range(3)):
        before, after = plain[index], light[index]
        assert after['inputs'].dtype == before['inputs'].dtype and after['inputs'].shape == before['inputs'].shape
        np.testing.assert_array_equal(after['data_samples'].gt_sem_seg.data, before['data_samples'].gt_sem_seg.data)
        changed += not (after['inputs'] == before['inputs']).all()
    assert changed > 6


def test_hues_are_of_bgr():
    """mmseg's transform takes our BGR for what it is: a hue of 10 turns pure red towards yellow, not towards blue."""
    from mmseg.datasets.transforms import PhotoMetricDistortion

    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 2] = 255
    transform = PhotoMetricDistortion(brightness_delta=0, contrast_range=(1, 1), saturation_range=(1, 1), hue_delta=11)
    found = []
    for seed in range(40):
        np.random.seed(seed)
        found.append(tuple(transform({'img': red.copy()})['img'][0, 0].tolist()))
    assert (0, 0, 255) in found
    assert all(value[2] == 255 and 0 in value[:2] for value in found)


@pytest.mark.parametrize('name', ['magnet_swin_b', 'magnet_swin_b_mixed', 'magnet_tiny_synthetic'])
def test_off_by_default(name):
    text = Config.fromfile(ROOT / 'configs' / f'{name}.py').pretty_text
    assert not any(word in text for word in ('Flip', 'PhotoMetricDistortion', 'MultiSizePreProcessor'))


def test_augmented_config():
    config = Config.fromfile(ROOT / 'configs' / 'magnet_swin_b_augmented.py')
    assert [step.type for step in config.train_dataloader.dataset.pipeline] == [
        'LoadImageFromFile',
        'LoadReferringMask',
        'Resize',
        'SampleExpression',
        'PhotoMetricDistortion',
        'ReferringRandomFlip',
        'TokenizeExpression',
        'PackReferringInputs',
    ]
    assert max(config.model.data_preprocessor.sizes) == config.image_size[0]
    assert 'Flip' not in str(config.val_dataloader) + str(config.test_dataloader)
