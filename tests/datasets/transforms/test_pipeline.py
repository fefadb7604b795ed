"""The whole way of an item: file, squash, mask, words, packed sample."""

import io

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image
from pycocotools import mask as coco_mask

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.models import ReferringPreProcessor
from mmmagnet.utils.errors import DataError

LOAD = dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow')
WORDS = [
    dict(type='SampleExpression'),
    dict(type='TokenizeExpression', tokenizer='package://mmmagnet/datasets/synthetic/tokenizer', max_length=20),
    dict(type='PackReferringInputs'),
]


def squash(size):
    return dict(type='Resize', scale=(size, size), keep_ratio=False, backend='pillow')


def training(size):
    return [LOAD, dict(type='LoadReferringMask'), squash(size), *WORDS]


def scoring(size):
    return [LOAD, squash(size), dict(type='LoadReferringMask'), *WORDS]


def reference_mask(item):
    """The mask of an item of polygons, by pycocotools alone."""
    polygons = [polygon for segmentation in item['segmentations'] for polygon in segmentation]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, item['height'], item['width'])))


@pytest.mark.parametrize('size', [8, 64])
def test_train_sample(prepared, size):
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=training(size))
    packed, item = dataset[0], dataset.get_data_info(0)
    image = Image.open(prepared / 'images' / '1.png')
    expected = np.array(image.resize((size, size), Image.BILINEAR))[..., ::-1]
    assert packed['inputs'].dtype == torch.uint8
    np.testing.assert_array_equal(packed['inputs'].permute(1, 2, 0).numpy(), expected)
    sample = packed['data_samples']
    mask = Image.fromarray(reference_mask(item)).resize((size, size), Image.NEAREST)
    assert sample.gt_sem_seg.data.dtype == torch.uint8 and sample.gt_sem_seg.data.shape == (1, size, size)
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), np.array(mask))
    assert sample.input_ids.shape == sample.word_mask.shape == (20,)
    assert sample.input_ids.dtype == sample.word_mask.dtype == torch.int64
    assert set(sample.all_keys()) == {'gt_sem_seg', 'input_ids', 'word_mask', *sample.metainfo_keys()}
    meta = sample.metainfo
    assert meta['expression'] in item['sentences']
    assert meta['ori_shape'] == (16, 20) and meta['img_shape'] == (size, size)
    assert (meta['ref_id'], meta['sample_idx'], meta['split']) == (0, 0, 'train')
    assert 'sent_id' not in meta and 'family' not in meta


def test_several_expressions_of_an_item(prepared):
    """From the files to the batch: each has its own words, all have the mask and the place of their image."""
    words = [dict(WORDS[0], expressions_per_image=3), *WORDS[1:]]
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=[*training(16)[:3], *words])
    items = [dataset[epoch, 0] for epoch in range(2)]
    data = ReferringPreProcessor()(pseudo_collate(items), training=True)
    assert data['inputs'].shape == (2, 3, 16, 16)
    assert [int(sample.image_index) for sample in data['data_samples']] == [0, 0, 0, 1, 1, 1]
    for sample, item in zip(data['data_samples'], [item for item in items for _ in range(3)], strict=True):
        number = item['data_samples'].expression.index(sample.expression)
        length = len(sample.input_ids)
        assert sample.input_ids.equal(item['data_samples'].input_ids[number, :length])
        assert sample.gt_sem_seg.data.equal(item['data_samples'].gt_sem_seg.data)
        assert sample.expression in dataset.get_data_info(0)['sentences']
    assert length == max(int(sample.word_mask.sum()) for sample in data['data_samples'])


def test_test_sample_keeps_the_original_mask(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='val', test_mode=True, pipeline=scoring(32))
    packed = dataset[3]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 32, 32)
    np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), reference_mask(dataset.get_data_info(3)))
    assert sample.metainfo['sent_id'] == 9 and sample.metainfo['expression'] == 'both'
    assert dataset[0]['data_samples'].metainfo['family'] == 'position'
    assert dataset[0]['data_samples'].metainfo['distractors'] == 2


def test_without_a_mask(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='val', test_mode=True, pipeline=[LOAD, squash(8), *WORDS])
    assert 'gt_sem_seg' not in dataset[0]['data_samples']


IMAGES = {
    'RGB': ('png', {}),
    'L': ('png', {}),
    'RGBA': ('png', {}),
    'P': ('png', {}),
    'CMYK': ('jpeg', {}),
    'turned': ('jpeg', {'exif': 6}),
}


@pytest.mark.parametrize('name', IMAGES)
def test_every_kind_of_image_has_three_channels_as_the_file_lies(name, tmp_path):
    form, extra = IMAGES[name]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 16, 3), np.uint8))
    image = image.convert('RGB' if name == 'turned' else name)
    settings = {}
    if extra:
        exif = Image.Exif()
        exif[274] = extra['exif']  # orientation: turned by a quarter
        settings['exif'] = exif
    file = io.BytesIO()
    image.save(file, form, **settings)
    path = tmp_path / f'image.{form}'
    path.write_bytes(file.getvalue())
    loaded = Compose([LOAD])({'img_path': str(path)})
    expected = np.array(Image.open(path).convert('RGB'))[..., ::-1]
    assert loaded['ori_shape'] == (10, 16)
    np.testing.assert_array_equal(loaded['img'], expected)
    if name == 'turned':
        turned = Compose([dict(LOAD, color_type='color')])({'img_path': str(path)})
        assert turned['ori_shape'] == (16, 10)


def test_following_the_orientation_is_noticed(prepared):
    path = prepared / 'images' / '1.png'
    exif = Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)
    settings = dict(data_root=prepared, split='train')
    assert RefCOCODataset(**settings, pipeline=training(8))[0]['data_samples'].ori_shape == (16, 20)
    followed = [dict(LOAD, color_type='color'), *training(8)[1:]]
    with pytest.raises(DataError, match=r'1\.png: is 16 x 20 pixels .*says 20 x 16.*color_ignore_orientation'):
        RefCOCODataset(**settings, pipeline=followed)[0]


def test_real_photographs(shared, tmp_path):
    from mmmagnet.datasets.converters.refer import convert_refer

    convert_refer(shared, 'human', 'human', tmp_path / 'human')
    dataset = RefCOCODataset(data_root=tmp_path / 'human', split='val', test_mode=True, pipeline=scoring(96))
    assert len(dataset) == 16
    for packed in dataset:
        sample = packed['data_samples']
        assert packed['inputs'].shape == (3, 96, 96)
        assert tuple(sample.gt_sem_seg.data.shape[1:]) == sample.ori_shape
        assert 0 < sample.gt_sem_seg.data.sum() < sample.gt_sem_seg.data.numel()
