"""Prepared folders as items: joins, order, randomness, errors."""

import itertools
import pickle

import numpy as np
import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from mmmagnet.datasets import EpochSampler, RefCOCODataset
from mmmagnet.utils.errors import DataError

TRAIN = [dict(type='SampleExpression')]
IMAGE = [dict(type='LoadImageFromFile', color_type='color_ignore_orientation', imdecode_backend='pillow')]


def test_train_items(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='train')
    assert len(dataset) == len(list(dataset)) == 3
    assert dataset.metainfo['classes'] == ('background', 'referred')
    first = dataset[0]
    first.pop('rng')
    assert first == {
        'img_path': str(prepared / 'images' / '1.png'),
        'height': 16,
        'width': 20,
        'segmentations': [[[2, 2, 8, 2, 8, 7, 2, 7]]],
        'ref_id': 0,
        'split': 'train',
        'sentences': ['left one', 'the small box', 'first'],
        'sample_idx': 0,
    }


def test_test_items_follow_the_file(prepared):
    dataset = RefCOCODataset(data_root=str(prepared), split='val', test_mode=True)
    items = list(dataset)
    assert [(item['ref_id'], item['sent_id'], item['sentences'], item.get('family')) for item in items] == [
        (3, 6, ['top'], 'position'),
        (3, 7, ['top left'], 'position'),
        (4, 8, ['the big one'], None),
        (5, 9, ['both'], None),
        (6, 10, ['alone'], None),
    ]
    assert [item['sample_idx'] for item in items] == [0, 1, 2, 3, 4]
    assert len(items[3]['segmentations']) == 2


def test_distractors_are_others_of_the_category(content, write, tmp_path):
    # image 3: annotations 13, 14, 15 and two more; 2: annotation 12 and a crowd
    content['annotations'] += [
        {'id': 16, 'image_id': 3, 'category_id': 2, 'segmentation': [[0, 0, 1, 0, 1, 1]]},
        {'id': 17, 'image_id': 3, 'category_id': 1, 'segmentation': [[0, 0, 1, 0, 1, 1]], 'iscrowd': 0},
        {'id': 18, 'image_id': 2, 'category_id': 1, 'segmentation': {'size': [10, 12], 'counts': [120]}, 'iscrowd': 1},
    ]
    content['refs'][5]['ann_ids'] = [16, 13]
    root = write(content, tmp_path / 'set')
    dataset = RefCOCODataset(data_root=root, split='val', test_mode=True)

    def reference(ref):
        own = [ann for ann in content['annotations'] if ann['id'] in ref['ann_ids']]
        return sum(
            ann['image_id'] == ref['image_id']
            and ann['id'] not in ref['ann_ids']
            and ann['category_id'] in {mine['category_id'] for mine in own}
            and not ann.get('iscrowd')
            for ann in content['annotations']
        )

    assert {item['ref_id']: item['distractors'] for item in dataset} == {
        ref['ref_id']: reference(ref) for ref in content['refs'] if ref['split'] == 'val'
    }
    assert [item['distractors'] for item in dataset] == [3, 3, 3, 3, 0]
    assert 'distractors' not in RefCOCODataset(data_root=root, split='train')[0]
    for annotation in content['annotations']:
        annotation.pop('category_id')
    content['refs'][4]['ann_ids'] = []
    dataset = RefCOCODataset(data_root=write(content, tmp_path / 'other'), split='val', test_mode=True)
    assert not any('distractors' in item for item in dataset)


def test_indices(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='train')
    dataset.seed = 5
    for epoch, item in itertools.product(range(3), range(3)):
        results = dataset[epoch, item]
        assert results['ref_id'] == item
        assert results['rng'].random() == np.random.default_rng((5, epoch, item)).random()
    for index, same in ((0, (0, 0)), (-1, (0, 2)), (np.int64(1), (0, 1)), ((4, -3), (4, 0))):
        first, second = dataset[index], dataset[same]
        assert first['sample_idx'] == second['sample_idx'] == same[1]
        assert first['rng'].random() == second['rng'].random()
    for index in (3, -4, (1, 3), (1, -4)):
        with pytest.raises(IndexError, match='into 3 items'):
            dataset[index]


def test_subsets(prepared):
    settings = dict(data_root=prepared, split='val', test_mode=True)
    whole = RefCOCODataset(**settings)
    for subset in (RefCOCODataset(**settings, indices=[2, 0]), whole.get_subset([2, 0])):
        assert [(item['ref_id'], item['sample_idx']) for item in subset] == [(4, 0), (3, 1)]
    assert len(RefCOCODataset(**settings, indices=2)) == len(whole.get_subset(2)) == 2
    assert len(whole) == 5


def test_lazy_until_used(prepared):
    dataset = RefCOCODataset(data_root=prepared / 'nowhere', split='train', lazy_init=True)
    dataset.ann_file, dataset.data_root = str(prepared / 'refs.jsonl'), str(prepared)
    assert len(dataset) == 3


def test_keeps_only_what_the_split_needs(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='train')
    assert dataset.data_list.nbytes == 3 * 3 * 4
    # annotations 13 to 15 belong to val or to nobody
    kept = [segmentation for item in dataset for segmentation in item['segmentations']]
    assert len(kept) == 3
    clone = pickle.loads(pickle.dumps(dataset))
    assert [item['ref_id'] for item in clone] == [item['ref_id'] for item in dataset]


def test_swapped_expressions(prepared, content, write, tmp_path, caplog):
    settings = dict(data_root=prepared, split='val', test_mode=True)
    swapped = RefCOCODataset(**settings, swap_expressions=True, lazy_init=True)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    swapped.full_init()
    logger.removeHandler(caplog.handler)
    assert '1 of 4 refs are alone' in caplog.text
    # ref 4 means the same as ref 3, so ref 3 takes from ref 5, and 5 goes around to 3
    assert [(item['ref_id'], item['sentences'][0], item['sent_id'], item.get('family')) for item in swapped] == [
        (3, 'both', 9, None),
        (4, 'both', 9, None),
        (5, 'top', 6, 'position'),
        (5, 'top left', 7, 'position'),
    ]
    masks = {item['ref_id']: item['segmentations'] for item in RefCOCODataset(**settings)}
    assert all(item['segmentations'] == masks[item['ref_id']] for item in swapped)
    with pytest.raises(ValueError, match='test_mode'):
        RefCOCODataset(data_root=prepared, split='val', swap_expressions=True)
    content['refs'] = content['refs'][3:4]
    with pytest.raises(DataError, match='1 of 1 refs are alone'):
        RefCOCODataset(**{**settings, 'data_root': write(content, tmp_path / 'alone')}, swap_expressions=True)


def sampled(dataset, workers, epochs):
    """Expressions by (epoch, item), through a real loader."""
    sampler = EpochSampler(dataset, seed=1)
    loader = DataLoader(
        dataset, 2, sampler=sampler, num_workers=workers, collate_fn=list, persistent_workers=workers > 0
    )
    found = {}
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found.update({(epoch, item['sample_idx']): item['expression'] for batch in loader for item in batch})
    return found


@pytest.mark.filterwarnings('ignore:This DataLoader will create')  # more workers than cores
def test_expressions_follow_from_seed_epoch_and_index_alone(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=TRAIN)
    expected = {}
    for epoch in range(12):
        for item in range(3):
            said = dataset.get_data_info(item)['sentences']
            choice = 0 if len(said) == 1 else np.random.default_rng((0, epoch, item)).integers(len(said))
            expected[epoch, item] = said[choice]
    for workers in (0, 1, 4):
        assert sampled(dataset, workers, 12) == expected
    for item in range(3):  # over the epochs everything is said
        assert {expected[epoch, item] for epoch in range(12)} == set(dataset.get_data_info(item)['sentences'])
    dataset.seed = 1
    assert sampled(dataset, 0, 12) != expected


def change(field, value, number=0):
    def apply(content):
        content['refs'][number][field] = value

    return apply


def without(part, number, field):
    def apply(content):
        del content[part][number][field]

    return apply


BROKEN = {
    'unknown annotation': (change('ann_ids', [10, 99]), 'instances.json: has no annotation 99, which ref 0 names'),
    'unknown image': (change('image_id', 77), 'instances.json: has no image 77, which ref 0 names'),
    'no ann_ids': (without('refs', 0, 'ann_ids'), "refs.jsonl, line 1: field 'ann_ids' is missing"),
    'no split': (without('refs', 4, 'split'), "refs.jsonl, line 5: field 'split' is missing"),
    'no sentences': (change('sentences', []), 'refs.jsonl, line 1: not a ref .*no sentences'),
    'sentence of a number': (change('sentences', [{'raw': 3, 'sent_id': 1}]), 'line 1: not a ref'),
    'sentence without id': (change('sentences', [{'raw': 'a'}]), "line 1: field 'sent_id' is missing"),
    'image without height': (without('images', 0, 'height'), "instances.json: field 'height' is missing"),
    'no segmentation': (without('annotations', 1, 'segmentation'), "instances.json: field 'segmentation' is missing"),
}


@pytest.mark.parametrize('name', BROKEN)
def test_broken_sets(name, content, write, tmp_path):
    apply, message = BROKEN[name]
    apply(content)
    with pytest.raises(DataError, match=message):
        RefCOCODataset(data_root=write(content, tmp_path / 'set'), split='train')


def test_what_other_annotations_lack_does_not_matter(content, write, tmp_path):
    del content['annotations'][5]['segmentation']
    content['annotations'][4]['segmentation'] = None
    dataset = RefCOCODataset(data_root=write(content, tmp_path / 'set'), split='train')
    assert [item['ref_id'] for item in dataset] == [0, 1, 2]


@pytest.mark.parametrize('category_id', [{}, [1], 'dog', 1.5])
@pytest.mark.parametrize('crowd', [0, 1])
def test_category_that_is_no_number(category_id, crowd, content, write, tmp_path):
    content['annotations'][0].update(category_id=category_id, iscrowd=crowd)
    with pytest.raises(DataError, match=r'instances\.json: not COCO instances'):
        RefCOCODataset(data_root=write(content, tmp_path / 'set'), split='train')


def test_broken_files(prepared):
    def load(split='train'):
        return RefCOCODataset(data_root=prepared, split=split)

    with pytest.raises(DataError, match=r"split 'testC' has no refs; splits there: train, val"):
        load('testC')
    instances = prepared / 'instances.json'
    whole = instances.read_bytes()
    for damage, message in (
        (whole[:-40], 'instances.json: not COCO instances'),
        (b'[]', 'instances.json: not COCO instances'),
        (b'{}', "instances.json: field 'images' is missing"),
        (b'\xff', 'instances.json: not COCO instances'),
    ):
        instances.write_bytes(damage)
        with pytest.raises(DataError, match=message):
            load()
    instances.unlink()
    with pytest.raises(DataError, match=r'instances\.json: is missing'):
        load()
    lines = prepared / 'refs.jsonl'
    whole = lines.read_bytes()
    for damage in (whole[:-9], whole + b'7\n', whole + b'\xff\n'):
        lines.write_bytes(damage)
        with pytest.raises(DataError, match=r'refs.jsonl, line \d: not a ref'):
            load()
    lines.unlink()
    with pytest.raises(DataError, match=r'refs.jsonl: no prepared set .*dataset_converters/refer.py'):
        load()


@pytest.mark.parametrize('test_mode', [False, True])
def test_unreadable_images(prepared, test_mode):
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=IMAGE, test_mode=test_mode)
    assert dataset[0]['img'].shape == (16, 20, 3)
    path = prepared / 'images' / '1.png'
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b'no image', b''):
        path.write_bytes(damage)
        with pytest.raises(DataError, match=r'1\.png: cannot be read as an image'):
            dataset[0]
    path.unlink()
    with pytest.raises(DataError, match=r'1\.png: no such image; put the images there, or a link'):
        dataset[0]


@pytest.mark.parametrize('load', [IMAGE[0], dict(type='LoadReducedImage', scale=(4, 4))])
def test_images_that_are_too_large(prepared, monkeypatch, load):
    monkeypatch.setattr('PIL.Image.MAX_IMAGE_PIXELS', 100)
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=[load])
    with pytest.raises(DataError, match=r'1\.png: too large \(Image size \(320 pixels\) exceeds limit'):
        dataset[0]


def test_never_none(prepared):
    dataset = RefCOCODataset(data_root=prepared, split='train', pipeline=[lambda results: None])
    with pytest.raises(DataError, match='returned None'):
        dataset[0]


def test_text_field(content, write, tmp_path):
    """`sent` is read where the set has it, and asked for by name where it has not."""
    without = write(content, tmp_path / 'raw')
    for ref in content['refs']:
        for sentence in ref['sentences']:
            sentence['sent'] = f'clean {sentence["raw"]}'
    cleaned = write(content, tmp_path / 'sent')
    dataset = RefCOCODataset(cleaned, 'train', text_field='sent')
    assert dataset[0]['sentences'] == ['clean left one', 'clean the small box', 'clean first']
    assert RefCOCODataset(cleaned, 'train')[0]['sentences'][0] == 'left one'
    assert RefCOCODataset(cleaned, 'val', text_field='sent', test_mode=True)[0]['sentences'] == ['clean top']
    with pytest.raises(DataError, match="ref 0 has a sentence without 'sent': convert the set again"):
        RefCOCODataset(without, 'train', text_field='sent')
