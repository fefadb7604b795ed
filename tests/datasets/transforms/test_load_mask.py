"""Masks from polygons and run lengths."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from mmmagnet.datasets.transforms import LoadReferringMask
from mmmagnet.datasets.transforms.load_mask import merge_segmentations, uncompress
from mmmagnet.utils.errors import DataError

RECTANGLE = [[3, 2, 9, 2, 9, 7, 3, 7]]
TRIANGLE = [[0, 0, 10.5, 0, 0, 6.25]]


def reference_runs(mask):
    """Lengths of the runs of 0, 1, 0 ... down the columns."""
    runs, value, length = [], 0, 0
    for pixel in mask.flatten(order='F').tolist():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    return [*runs, length]


def forms(mask):
    """A mask as every kind of RLE that COCO files hold."""
    packed = coco_mask.encode(np.asfortranarray(mask))
    size = list(mask.shape)
    return {
        'bytes': packed,
        'text': {'size': size, 'counts': packed['counts'].decode()},
        'tuple': {'size': tuple(size), 'counts': packed['counts']},
        'list': {'size': size, 'counts': reference_runs(mask)},
    }


def load(segmentations, height=8, width=12, **settings):
    results = {
        'segmentations': segmentations,
        'height': height,
        'width': width,
        'ori_shape': (height, width),
        'img_path': 'images/7.jpg',
        'ref_id': 42,
    }
    return LoadReferringMask(**settings)(results)


def random_masks():
    rng = np.random.default_rng(0)
    for _ in range(25):
        height, width = rng.integers(1, 40, 2)
        yield (rng.random((height, width)) < rng.random()).astype(np.uint8)
        blocks = (rng.random((3, 3)) < 0.5).astype(np.uint8)
        yield np.kron(blocks, np.ones((height, width), np.uint8))


def test_uncompress():
    for mask in random_masks():
        assert uncompress(coco_mask.encode(np.asfortranarray(mask))['counts']) == reference_runs(mask)


def test_every_form_gives_the_mask():
    for mask in random_masks():
        for form in forms(mask).values():
            np.testing.assert_array_equal(merge_segmentations([form], *mask.shape), mask)


def test_polygons_and_runs_agree():
    for polygons in (RECTANGLE, TRIANGLE, RECTANGLE + TRIANGLE):
        mask = merge_segmentations([polygons], 8, 12)
        expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 8, 12)))
        np.testing.assert_array_equal(mask, expected)
        for form in forms(mask).values():
            np.testing.assert_array_equal(merge_segmentations([form], 8, 12), mask)
    image = Image.new('L', (12, 8))
    ImageDraw.Draw(image).rectangle((3, 2, 8, 6), fill=1)
    np.testing.assert_array_equal(merge_segmentations([RECTANGLE], 8, 12), np.array(image))


def test_several_objects_are_united():
    first, second = merge_segmentations([RECTANGLE], 8, 12), merge_segmentations([TRIANGLE], 8, 12)
    assert first.any() and second.any() and (first & second).any()
    for segmentations in ([RECTANGLE, TRIANGLE], [forms(first)['text'], TRIANGLE], [RECTANGLE, forms(second)['list']]):
        np.testing.assert_array_equal(merge_segmentations(segmentations, 8, 12), first | second)


def test_lists_of_runs():
    """refclef and RRSIS-D have lists of RLE, of one or several."""
    first, second = merge_segmentations([RECTANGLE], 8, 12), merge_segmentations([TRIANGLE], 8, 12)
    for form in ('bytes', 'text', 'list'):
        given = [forms(first)[form], forms(second)[form]]
        np.testing.assert_array_equal(merge_segmentations([given], 8, 12), first | second)
        np.testing.assert_array_equal(merge_segmentations([given[:1]], 8, 12), first)
    np.testing.assert_array_equal(merge_segmentations([[{'size': [4, 4], 'counts': [5, 2, 9]}]], 4, 4).sum(), 2)
    np.testing.assert_array_equal(merge_segmentations([[*RECTANGLE, forms(second)['text']]], 8, 12), first | second)


@pytest.mark.parametrize('third', [[], [RECTANGLE[0]]])
def test_overlap(third):
    """The released code of LAVT, MagNet and RMSIN sums an object's polygons, keeps what is 1, and unites objects."""
    polygons = [RECTANGLE[0], TRIANGLE[0], *third]
    layers = [merge_segmentations([[polygon]], 8, 12) for polygon in polygons]
    odd = load([polygons], overlap='odd')['gt_seg_map']
    np.testing.assert_array_equal(odd, np.sum(layers, axis=0) == 1)
    assert 0 < odd.sum() < load([polygons])['gt_seg_map'].sum()
    np.testing.assert_array_equal(load([polygons], overlap='union')['gt_seg_map'], np.max(layers, axis=0))
    other = load([polygons, RECTANGLE], overlap='odd')['gt_seg_map']
    np.testing.assert_array_equal(other, odd | layers[0])
    assert odd.dtype == np.uint8
    with pytest.raises(ValueError, match="overlap='xor': give 'union' or 'odd'"):
        LoadReferringMask(overlap='xor')


def test_transform():
    results = load([RECTANGLE, [[1, 1, 2, 2]]])  # a polygon of two points has no area
    mask = results['gt_seg_map']
    assert mask.shape == (8, 12) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1}
    assert results['seg_fields'] == ['gt_seg_map']
    assert mask.sum() == 30


# each of these would end pycocotools itself with an error without a name, with random pixels, or with the process
DAMAGED = {
    'runs too short': {'size': [8, 12], 'counts': [5, 10]},
    'runs too long': {'size': [8, 12], 'counts': [5, 10, 2_000_000]},
    'negative run': {'size': [8, 12], 'counts': [100, -4]},
    'broken run': {'size': [8, 12], 'counts': [90.5, 5.5]},
    'empty text': {'size': [8, 12], 'counts': ''},
    'no run length text': {'size': [8, 12], 'counts': 'zzzz~~'},
    'text ends within a run': {'size': [8, 12], 'counts': 'P'},
    'another size': {'size': [12, 8], 'counts': [96]},
    'a damaged one of two': [{'size': [8, 12], 'counts': [96]}, {'size': [8, 12], 'counts': [95]}],
    'no size': {'counts': [96]},
    'no counts': {'size': [8, 12]},
    'nothing': None,
    'flat polygon': [0, 0, 4, 0, 4, 4],
    'odd polygon': [[0, 0, 4, 0, 4, 4, 7]],
    'not finite': [[0, 0, float('nan'), 0, 4, 4]],
    'far outside': [[1e9, 0, 0, 1e9, 1e9, 1e9]],
    'endless run': {'size': [8, 12], 'counts': 300_000 * 'o'},
    'words': [['a', 'b', 'c', 'd', 'e', 'f']],
}


@pytest.mark.parametrize('name', DAMAGED)
def test_damaged_segmentations(name):
    with pytest.raises(DataError, match=r'ref 42 of images/7.jpg: its segmentation is neither'):
        load([RECTANGLE, DAMAGED[name]])


@pytest.mark.parametrize('segmentations', [[], [[]], [[[1, 1, 2, 2]]], [{'size': [8, 12], 'counts': [96]}]])
def test_empty_masks(segmentations):
    with pytest.raises(DataError, match=r'ref 42 of images/7\.jpg: its mask has no pixels'):
        load(segmentations)
    mask = load(segmentations, allow_empty=True)['gt_seg_map']
    assert mask.shape == (8, 12) and not mask.any()


def test_image_of_another_size():
    results = {'height': 8, 'width': 12, 'ori_shape': (12, 8), 'img_path': 'images/7.jpg', 'segmentations': []}
    with pytest.raises(DataError, match=r'images/7.jpg: is 8 x 12 pixels .*says 12 x 8'):
        LoadReferringMask()(results)
