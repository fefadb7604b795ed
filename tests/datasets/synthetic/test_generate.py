from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmagnet.datasets.synthetic import HELD_OUT, LEVELS, SPLITS, SyntheticSet, default_set, generate_set, make_sample
from mmmagnet.datasets.synthetic.generate import _records

TOOL = Path(__file__).parents[3] / 'tools' / 'dataset_converters' / 'synthetic.py'
TINY = {'train': 5, 'val': 2, 'testA': 2, 'testB': 2}


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def test_layout(folder):
    images = {image['id']: image for image in folder.instances['images']}
    annotations = {annotation['id']: annotation for annotation in folder.instances['annotations']}
    categories = {category['id']: category['name'] for category in folder.instances['categories']}
    size = LEVELS[folder.level].size
    for image in images.values():
        pixels = cv2.imread(str(folder.root / 'images' / image['file_name']))
        assert pixels.shape == (size, size, 3) == (image['height'], image['width'], 3)
    for annotation in annotations.values():
        assert categories[annotation['category_id']] == annotation['shape']
        mask = coco_mask.decode(annotation['segmentation'])
        assert mask.shape == (size, size)
        assert mask.sum() == annotation['area'] >= 24 * (size / 64) ** 2
    for field in ('ref_id', 'sent_id'):
        ids = [r['ref_id'] for r in folder.refs]
        if field == 'sent_id':
            ids = [s['sent_id'] for r in folder.refs for s in r['sentences']]
        assert ids == list(range(len(ids)))
    for ref in folder.refs:
        (ann_id,) = ref['ann_ids']
        assert annotations[ann_id]['image_id'] == ref['image_id'] in images
        assert annotations[ann_id]['category_id'] == ref['category_id']
        raws = [sentence['raw'] for sentence in ref['sentences']]
        assert 2 <= len(raws) == len(set(raws)) <= 4
        assert images[ref['image_id']]['file_name'].startswith(ref['split'])


def test_every_image_has_two_refs(folder):
    per_image = Counter(ref['image_id'] for ref in folder.refs)
    assert set(per_image) == {image['id'] for image in folder.instances['images']}
    assert min(per_image.values()) >= 2


def test_splits(folder):
    level = LEVELS[folder.level]
    low, high = level.num_objects
    split_of = {ref['image_id']: ref['split'] for ref in folder.refs}
    targets = {ref['ann_ids'][0] for ref in folder.refs}
    assert set(split_of.values()) == set(SPLITS)
    for image_id, inside in folder.annotations.items():
        split = split_of[image_id]
        assert low <= len(inside) <= high
        assert split != 'testA' or len(inside) == high
        for annotation in inside:
            held_out = (annotation['colour'], annotation['shape']) in HELD_OUT
            assert not held_out or split == 'testB'
            assert held_out or split != 'testB' or annotation['id'] not in targets


def test_held_out_pairs_leave_every_word_in_training():
    for level in LEVELS.values():
        assert len(level.pairs) + len(level.held_out) == len(level.colours) * len(level.shapes)
        assert {colour for colour, _ in level.pairs} == set(level.colours)
        assert {shape for _, shape in level.pairs} == set(level.shapes)
        assert {shape for _, shape in level.held_out} == set(level.shapes)


def test_masks_lie_on_their_objects(folder):
    """Inside each mask the brightest pixels have the object's colour; the masks of an image do not overlap."""
    from mmmagnet.datasets.synthetic.level import COLOURS

    for image in folder.instances['images'][:20]:
        pixels = cv2.imread(str(folder.root / 'images' / image['file_name']))[:, :, ::-1].astype(float)
        covered = np.zeros(pixels.shape[:2], int)
        for annotation in folder.annotations[image['id']]:
            mask = coco_mask.decode(annotation['segmentation'])
            covered += mask
            inside = pixels[mask.astype(bool)]
            bright = inside[inside.sum(1) >= np.quantile(inside.sum(1), 0.7)]
            distance = {name: np.abs(np.median(bright, axis=0) - rgb).sum() for name, rgb in COLOURS.items()}
            assert min(distance, key=distance.__getitem__) == annotation['colour']
        assert covered.max() == 1


def test_partial_occlusion_occurs(folder):
    """Some objects are partly hidden: their visible part is smaller than the shape drawn alone."""
    from mmmagnet.datasets.synthetic.render import rasterise

    level = LEVELS[folder.level]
    shares = []
    for index in range(20):
        sample = make_sample(level, level.size, 3, 'train', index)
        for i, item in enumerate(sample.scene.objects):
            alone = np.count_nonzero(rasterise(item, level.size).coverage >= 128)
            shares.append(sample.masks[:, :, i].sum() / alone)
    assert min(shares) >= level.min_visible
    assert max(shares) == 1
    assert 0.02 < np.mean(np.array(shares) < 0.97) < 0.6


@pytest.mark.parametrize('level', list(LEVELS))
def test_images_depend_on_seed_split_and_index_alone(level):
    one, two = (make_sample(LEVELS[level], 64, 5, 'val', 3) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert one.sentences == two.sentences
    for seed, split, index in ((6, 'val', 3), (5, 'train', 3), (5, 'val', 4)):
        assert not np.array_equal(one.image, make_sample(LEVELS[level], 64, seed, split, index).image)


def test_workers_do_not_change_the_content(tmp_path):
    wanted = default_set('easy', counts={**TINY, 'train': 70})
    generate_set(wanted, tmp_path / 'one', workers=1)
    generate_set(wanted, tmp_path / 'two', workers=2)
    assert content(tmp_path / 'one') == content(tmp_path / 'two')


def test_the_same_set_is_not_written_again(tmp_path):
    out = tmp_path / 'set'
    assert generate_set(default_set('easy', counts=TINY), out)
    before = (out / 'refs.jsonl').stat().st_mtime_ns
    assert not generate_set(default_set('easy', counts=TINY), out)
    assert (out / 'refs.jsonl').stat().st_mtime_ns == before


def test_other_content_is_only_replaced_on_request(tmp_path):
    out = tmp_path / 'set'
    generate_set(default_set('easy', counts=TINY), out)
    other = default_set('easy', seed=1, counts=TINY)
    with pytest.raises(FileExistsError, match=r'set: .*--overwrite'):
        generate_set(other, out)
    assert generate_set(other, out, overwrite=True)
    assert json.loads((out / 'instances.json').read_text())['info'] == other.info
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(FileExistsError, match=r'notes\.txt'):
        generate_set(default_set('easy', counts=TINY), out, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['set']


def test_an_incomplete_set_is_not_taken_for_complete(tmp_path):
    out = tmp_path / 'set'
    wanted = default_set('easy', counts=TINY)
    generate_set(wanted, out)
    next((out / 'images').iterdir()).unlink()
    with pytest.raises(FileExistsError, match='--overwrite'):
        generate_set(wanted, out)
    assert generate_set(wanted, out, overwrite=True)
    assert len(list((out / 'images').iterdir())) == 11


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError])  # a full disk is an OSError
def test_interruption_leaves_nothing_behind(tmp_path, error):
    out = tmp_path / 'deep' / 'set'

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise error('stopped')

    with pytest.raises(error):
        generate_set(default_set('easy', counts=TINY), out, progress=stop)
    assert list((tmp_path / 'deep').iterdir()) == []


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'level': 'hard'}, 'level: .*easy, relations, full'),
        ({'seed': -1}, 'seed: '),
        ({'size': 20}, 'size: .*48 to 1024'),
        ({'counts': {'train': 3}}, 'counts: '),
        ({'counts': dict.fromkeys(SPLITS, 0)}, 'counts: '),
    ],
)
def test_arguments_out_of_range(changes, message):
    arguments = {'level': 'easy', 'seed': 0, 'size': 64, 'counts': TINY}
    with pytest.raises(ValueError, match=message):
        SyntheticSet(**{**arguments, **changes})


def test_records_come_in_order(tmp_path):
    wanted = default_set('easy', counts={'train': 2, 'val': 1, 'testA': 0, 'testB': 1})
    names = [record['file_name'] for record in _records(wanted, tmp_path, workers=1)]
    assert names == ['train_000000.png', 'train_000001.png', 'val_000000.png', 'testB_000000.png']


def test_command_line(tmp_path, capsys):
    main = runpy.run_path(str(TOOL))['main']
    out = tmp_path / 'set'
    counts = [f'--{split}={count}' for split, count in TINY.items()]
    command = ['--level=full', f'--out={out}', '--workers=1', *counts]
    assert main(command) == 0
    assert 'images per second' in capsys.readouterr().out
    assert main(command) == 0
    assert 'already holds this set' in capsys.readouterr().out
    assert main([*command, '--seed=1']) == 1
    assert f'{out}: holds other content' in capsys.readouterr().err
    assert main([*command, '--seed=1', '--overwrite']) == 0
    assert main([*command, '--size=1']) == 1
    assert 'size: got 1' in capsys.readouterr().err
