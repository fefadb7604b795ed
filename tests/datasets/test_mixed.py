"""Several sets as one: which images go, what stays, randomness."""

import json
import pickle

import numpy as np
import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from mmmagnet.datasets import EpochSampler, MixedReferringDataset
from mmmagnet.registry import DATASETS
from mmmagnet.utils.errors import DataError

SPLITS = {
    'one': {'train': [1, 2, 3, 4, 4], 'val': [5], 'testA': [6]},
    'two': {'train': [1, 5, 7, 8], 'val': [2], 'test': [9]},
    'three': {'train': [6, 3, 10], 'testB': [11, 4]},
    'google': {'train': [1, 3, 12, 13], 'val': [3, 12]},
}
"""Set -> split -> the image of each ref."""
SAMPLE = [dict(type='SampleExpression')]


@pytest.fixture
def folder(tmp_path):
    """The sets, without images."""
    for name, splits in SPLITS.items():
        images = [image for images in splits.values() for image in images]
        refs = [
            {
                'ref_id': number,
                'image_id': image,
                'ann_ids': [number],
                'split': split,
                'sentences': [{'sent_id': 3 * number + k, 'raw': f'{name} {split} {image} {k}'} for k in range(3)],
            }
            for number, (split, image) in enumerate((split, image) for split in splits for image in splits[split])
        ]
        instances = {
            'images': [{'id': image, 'file_name': f'{image}.png', 'width': 4, 'height': 4} for image in set(images)],
            'annotations': [
                {'id': ref['ref_id'], 'image_id': ref['image_id'], 'category_id': 1, 'segmentation': []} for ref in refs
            ],
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
        (tmp_path / name / 'instances.json').write_text(json.dumps(instances))
    return tmp_path


@pytest.fixture
def log(caplog):
    """What MMEngine's logger says."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def mix(folder, *names, splits=('train',), **settings):
    parts = [
        dict(type='RefCOCODataset', data_root=str(folder / name), split=split, pipeline=SAMPLE)
        for name in names
        for split in splits
    ]
    return DATASETS.build(dict(type='MixedReferringDataset', datasets=parts, **settings))


def images_of(dataset):
    """Set -> images left, in order."""
    found = {}
    for item in dataset:
        name, _, image, _ = item['expression'].split()
        found.setdefault(name, []).append(int(image))
    return found


def reference(names, splits=('train',)):
    """The same by the rule alone."""
    held = {
        image for name in names for split, images in SPLITS[name].items() if split not in splits for image in images
    }
    if len(names) == 1:
        held = set()
    return {
        name: [image for split in splits for image in SPLITS[name].get(split, []) if image not in held]
        for name in names
    }


@pytest.mark.parametrize(
    'names', [('one', 'two'), ('one', 'two', 'three'), ('two', 'google'), ('one',), ('google',), ('google', 'three')]
)
def test_images_held_out_by_any_set_are_gone(folder, names):
    assert images_of(mix(folder, *names)) == reference(names)


def test_log_says_how_many(folder, log):
    mix(folder, 'one', 'two')
    assert f'{folder}/one/refs.jsonl: holds out the images of testA, val: 2' in log.text
    assert "one/refs.jsonl: split 'train' excludes 1 of its 5 refs, on 1 of its 4 images" in log.text
    assert "two/refs.jsonl: split 'train' excludes 1 of its 4 refs, on 1 of its 4 images" in log.text


def test_google_alone_is_as_published(folder, log):
    assert images_of(mix(folder, 'google')) == {'google': [1, 3, 12, 13]}
    assert "of the 3 images of split 'train'" not in log.text
    assert (
        "google/refs.jsonl: of the 4 images of split 'train', other splits of this set have some too (val: 2); used as "
        'published'
    ) in log.text
    log.clear()
    assert images_of(mix(folder, 'google', 'three')) == {'google': [1, 13], 'three': [6, 10]}
    assert 'as published' not in log.text


def test_switch(folder, log):
    everything = mix(folder, 'one', 'two', exclude_held_out=False)
    assert images_of(everything) == {name: SPLITS[name]['train'] for name in ('one', 'two')}
    (warning,) = [record for record in log.records if record.levelname == 'WARNING']
    assert 'exclude_held_out=False' in warning.getMessage()


def test_a_split_that_is_trained_on_is_not_held_out_by_its_set(folder):
    dataset = mix(folder, 'one', 'two', splits=('train', 'val'))
    assert images_of(dataset) == reference(('one', 'two'), ('train', 'val'))
    assert images_of(dataset) == {'one': [1, 2, 3, 4, 4, 5], 'two': [1, 5, 7, 8, 2]}


def test_only_refs_are_read_for_what_is_held_out(folder):
    dataset = mix(folder, 'one', 'two', lazy_init=True)
    (folder / 'two' / 'instances.json').unlink()
    with pytest.raises(DataError, match=r'two/instances\.json: is missing'):
        dataset.full_init()
    assert len(dataset.datasets[0]) == 4


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_expressions_follow_from_seed_epoch_and_index_alone(folder, workers):
    dataset = mix(folder, 'one', 'two', lazy_init=True)
    assert dataset.metainfo['classes'] == ('background', 'referred')
    sampler = EpochSampler(dataset, seed=2)
    dataset.seed = 5
    assert len(dataset) == len(sampler) == 7
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=list)
    sentences = [part.get_data_info(item)['sentences'] for part in dataset.datasets for item in range(len(part))]
    for epoch in (0, 3):
        sampler.set_epoch(epoch)
        order = np.random.default_rng((2, epoch)).permutation(7)
        expected = [sentences[item][np.random.default_rng((5, epoch, item)).integers(3)] for item in order]
        assert [item['expression'] for batch in loader for item in batch] == expected


def test_pickled(folder):
    dataset = mix(folder, 'one', 'two')
    clone = pickle.loads(pickle.dumps(dataset))
    assert [item['expression'] for item in clone] == [item['expression'] for item in dataset]
    assert dataset[-1]['ref_id'] == dataset[6]['ref_id'] == dataset[9, 6]['ref_id'] == 3
    assert len({dataset[epoch, 0]['expression'] for epoch in range(20)}) == 3
    for index in (7, -8, (2, 7)):
        with pytest.raises(IndexError):
            dataset[index]


def test_refused(folder):
    with pytest.raises(ValueError, match='datasets is empty'):
        MixedReferringDataset([])
    part = dict(type='RefCOCODataset', data_root=str(folder / 'one'), split='val', test_mode=True)
    with pytest.raises(ValueError, match='for training'):
        MixedReferringDataset([part])
    read = mix(folder, 'one').datasets[0]
    with pytest.raises(RuntimeError, match='lazy_init=True'):
        read.exclude_images({1})
    lines = [json.loads(line) for line in (folder / 'three' / 'refs.jsonl').read_text().splitlines()]
    (folder / 'three' / 'refs.jsonl').write_text(
        ''.join(json.dumps({**ref, 'split': 'test'}) + '\n' for ref in lines)
        + ''.join(json.dumps({**ref, 'split': 'train'}) + '\n' for ref in lines)
    )
    with pytest.raises(DataError, match=r"three/refs\.jsonl: no ref of split 'train' is left"):
        mix(folder, 'one', 'three')
