import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from PIL import Image

import mmmagnet  # noqa: F401

SHARED = Path(__file__).parents[3] / 'shared' / 'data'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@pytest.fixture(scope='session')
def shared():
    """The small real data beside the repository."""
    if not SHARED.is_dir():
        pytest.skip('no ../shared/data')
    return SHARED


def box(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def sentences(first, *texts, **extra):
    return [{'sent_id': first + number, 'raw': text, **extra} for number, text in enumerate(texts)]


def ref(ref_id, image_id, ann_ids, split, said):
    return {
        'ref_id': ref_id,
        'image_id': image_id,
        'ann_ids': ann_ids,
        'category_id': 1,
        'split': split,
        'sentences': said,
    }


def small_set():
    """A prepared set in memory: three images, seven refs, one annotation that no ref names."""
    sizes = {1: (20, 16), 2: (12, 10), 3: (30, 24)}
    return {
        'images': [
            {'id': image_id, 'file_name': f'{image_id}.png', 'width': width, 'height': height}
            for image_id, (width, height) in sizes.items()
        ],
        'annotations': [
            {'id': 10, 'image_id': 1, 'category_id': 1, 'segmentation': box(2, 2, 6, 5)},
            {'id': 11, 'image_id': 1, 'category_id': 1, 'segmentation': box(10, 4, 8, 8)},
            {'id': 12, 'image_id': 2, 'category_id': 1, 'segmentation': box(1, 1, 4, 4)},
            {'id': 13, 'image_id': 3, 'category_id': 1, 'segmentation': box(0, 0, 10, 10)},
            {'id': 14, 'image_id': 3, 'category_id': 1, 'segmentation': box(20, 12, 8, 8)},
            {'id': 15, 'image_id': 3, 'category_id': 1, 'segmentation': box(12, 2, 3, 3)},
        ],
        'categories': [{'id': 1, 'name': 'thing'}],
        'refs': [
            ref(0, 1, [10], 'train', sentences(0, 'left one', 'the small box', 'first')),
            ref(1, 1, [11], 'train', sentences(3, 'right one', 'big')),
            ref(2, 2, [12], 'train', sentences(5, 'the only one')),
            ref(3, 3, [13], 'val', sentences(6, 'top', 'top left', family='position')),
            ref(4, 3, [13], 'val', sentences(8, 'the big one')),
            ref(5, 3, [14, 13], 'val', sentences(9, 'both')),
            ref(6, 2, [12], 'val', sentences(10, 'alone')),
        ],
    }


def write_set(content, root):
    """Write `small_set()`, changed or not, as a prepared folder with images of noise."""
    (root / 'images').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for image in content['images']:
        pixels = rng.integers(0, 256, (int(image.get('height', 9)), image['width'], 3), np.uint8)
        Image.fromarray(pixels).save(root / 'images' / image['file_name'])
    (root / 'refs.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in content['refs']))
    (root / 'instances.json').write_text(json.dumps({key: content[key] for key in content if key != 'refs'}))
    return root


@pytest.fixture
def content():
    return small_set()


@pytest.fixture
def write():
    return write_set


@pytest.fixture
def prepared(tmp_path):
    """The small set as a folder."""
    return write_set(small_set(), tmp_path / 'prepared')
