"""Results as files: what they hold, and that no name leaves the folder or meets another."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from mmmagnet.visualization import ReferringResult, ResultFolder

MASK = np.zeros((6, 9), bool)
MASK[1:3, 2:7] = True


def result(expression: str = 'a', mask: np.ndarray = MASK) -> ReferringResult:
    return ReferringResult(
        expression, mask, (2, 1, 7, 3) if mask.any() else None, 0.5, image=np.zeros((6, 9, 3), np.uint8)
    )


def test_what_is_written(tmp_path):
    with ResultFolder(tmp_path / 'new' / 'out') as folder:
        overlay = folder.add('photos/a.b.jpg', result('The red / square!'))
        folder.add(np.zeros((6, 9, 3), np.uint8), result('', ~MASK & MASK))
    names = [f'{stem}_{kind}.png' for stem in ('a.b_0_the_red_square', 'image_0') for kind in ('mask', 'overlay')]
    assert sorted(path.name for path in overlay.parent.iterdir()) == [*names, 'results.json']
    assert overlay.name == names[1]
    assert np.array_equal(np.asarray(Image.open(overlay.parent / names[0])) == 255, MASK)
    assert np.asarray(Image.open(overlay)).shape[1] > 2 * 240
    first, second = json.loads((overlay.parent / 'results.json').read_text())
    assert np.array_equal(coco_mask.decode(first.pop('segmentation')), MASK)
    assert first == {
        'image': 'photos/a.b.jpg',
        'expression': 'The red / square!',
        'bbox': [2, 1, 5, 2],
        'score': 0.5,
        'target_score': None,
        'overlay': names[1],
        'mask': names[0],
    }
    assert (second['image'], second['bbox']) == (None, None)


@pytest.mark.parametrize(
    ('images', 'expressions', 'stems'),
    [
        (['a/x.png', 'b/x.png', 'b/X.jpg'], ['e'], ['x_0_e', 'x_0_e_2', 'X_0_e_3']),
        (['x.png'], ['e', 'e'], ['x_0_e', 'x_1_e']),
        (['a.png', 'a_0.png'], ['e', '1 e', 'e'], ['a_0_e', 'a_1_1_e', 'a_2_e', 'a_0_0_e', 'a_0_1_1_e', 'a_0_2_e']),
        (['[*] é?.png', '.hidden', '...'], ['e'], ['____é__0_e', 'hidden_0_e', 'image_0_e']),
        (['x.png'], ['../../etc/passwd', '\u7ea2', 'a\nb\0c'], ['x_0_etc_passwd', 'x_1', 'x_2_a_b_c']),
        (
            ['http://h/a/..%2f..?q=/x', 'https://h', 'C:\\a\\b.png'],
            ['e'],
            ['..%2f..'.replace('%', '_').lstrip('.') + '_0_e', 'image_0_e', 'C__a_b_0_e'],
        ),
        (['\U0001f408' * 200, '\udcff.png'], ['e' * 300], ['_' * 25 + '_0_' + 'e' * 40, '__0_' + 'e' * 40]),
    ],
)
def test_names(images, expressions, stems, tmp_path):
    inner = tmp_path / 'out'
    with ResultFolder(inner) as folder:
        found = [folder.add(image, result(each)) for image in images for each in expressions]
    assert [path.name.removesuffix('_overlay.png') for path in found] == stems
    assert all(path.is_file() and path.parent == inner for path in found)
    assert len(list(inner.iterdir())) == 2 * len(found) + 1
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_links_are_replaced(tmp_path):
    """A link that waits under a result's name leads nothing out of the folder."""
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a_0_e_mask.png').symlink_to(tmp_path / 'victim')
    (tmp_path / 'victim').write_text('mine')
    ResultFolder(tmp_path / 'out').add('a.png', result('e'))
    assert (tmp_path / 'victim').read_text() == 'mine'


def test_nothing_to_write(tmp_path):
    with ResultFolder(tmp_path / 'out'):
        pass
    assert not (tmp_path / 'out').exists()


def test_result_without_its_image():
    drawn = ReferringResult('a', MASK, None).draw()
    assert drawn.dtype == np.uint8
