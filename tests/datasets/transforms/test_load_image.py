"""Images that are decoded smaller than they are."""

from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile, Resize
from PIL import Image

from mmmagnet.datasets.transforms import LoadReducedImage, LoadReferringMask

EXIF_TURNED = {274: 6}  # the tag of the orientation: turn it clockwise


def image(path, size, mode='RGB', **settings):
    """Smooth colours, so that how it is made smaller shows little."""
    x, y = np.meshgrid(np.linspace(0, 6, size[0]), np.linspace(0, 4, size[1]))
    colours = np.stack([np.sin(x), np.cos(y), np.sin(x + y)], axis=2)
    Image.fromarray((127 + 120 * colours).astype(np.uint8)).convert(mode).save(path, **settings)
    return str(path)


def load(path, scale):
    return LoadReducedImage(scale).transform({'img_path': path})


def load_whole(path):
    whole = LoadImageFromFile(color_type='color_ignore_orientation', imdecode_backend='pillow')
    return whole.transform({'img_path': path})


@pytest.mark.parametrize(
    ('size', 'scale', 'decoded'),
    [
        ((320, 240), (60, 40), (80, 60)),
        ((320, 240), (40, 30), (40, 30)),
        ((320, 240), (20, 10), (40, 30)),  # an eighth is the least
        ((320, 240), (80, 61), (160, 120)),  # wide enough at a quarter, not high enough
        ((321, 243), (160, 120), (161, 122)),
        ((320, 240), (161, 20), (320, 240)),
        ((320, 240), (640, 480), (320, 240)),
    ],
)
def test_the_smallest_that_is_no_smaller(tmp_path, size, scale, decoded):
    path = image(tmp_path / 'a.jpg', size, quality=95, subsampling=0)
    results, whole = load(path, scale), load_whole(path)
    assert results['img'].shape == (*decoded[::-1], 3)
    assert results['img_shape'] == decoded[::-1]
    assert results['ori_shape'] == size[::-1]
    if decoded == size:
        np.testing.assert_array_equal(results['img'], whole['img'])
    resized = [Resize(scale, backend='pillow').transform(each)['img'].astype(int) for each in (results, whole)]
    difference = np.abs(resized[0] - resized[1])
    assert difference.max() <= 8
    assert difference.mean() <= 1


@pytest.mark.parametrize(
    ('name', 'mode', 'settings'),
    [('a.png', 'RGB', {}), ('a.png', 'LA', {}), ('a.jpg', 'L', {}), ('a.jpg', 'CMYK', {}), ('a.bmp', 'RGB', {})],
)
def test_others_are_decoded_whole(tmp_path, name, mode, settings):
    path = image(tmp_path / name, (64, 48), mode, **settings)
    results, whole = load(path, (8, 8)), load_whole(path)
    np.testing.assert_array_equal(results['img'], whole['img'])
    assert results['ori_shape'] == whole['ori_shape']


def test_orientation_is_ignored_and_the_mask_is_of_the_file(tmp_path):
    exif = Image.Exif()
    exif.update(EXIF_TURNED)
    results = load(image(tmp_path / 'a.jpg', (64, 48), exif=exif), (16, 16))
    assert results['img_shape'] == (24, 32)
    results.update(height=48, width=64, segmentations=[[[0, 0, 32, 0, 32, 48, 0, 48]]], ref_id=0)
    results = Resize((16, 16), keep_ratio=False, backend='pillow').transform(LoadReferringMask().transform(results))
    assert results['img'].shape == (16, 16, 3)
    np.testing.assert_array_equal(results['gt_seg_map'], np.arange(16)[None] < np.full((16, 1), 8))


def test_files_that_cannot_be_read(tmp_path):
    path = image(tmp_path / 'a.jpg', (320, 240), quality=95)
    (tmp_path / 'cut.jpg').write_bytes(Path(path).read_bytes()[:4000])
    (tmp_path / 'text.jpg').write_text('no image')
    for name in ('cut.jpg', 'text.jpg', 'none.jpg'):
        with pytest.raises(OSError):
            load(str(tmp_path / name), (40, 30))
