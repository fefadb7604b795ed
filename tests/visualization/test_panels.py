"""Panels show what they should, where they should, for any image and mask."""

from __future__ import annotations

import numpy as np
import pytest

from mmmagnet.visualization import contact_sheet, draw_panels, mask_iou, overlay_mask, panels
from mmmagnet.visualization.panels import GAP, MIN_WIDTH, PRED_COLOR, _panel_size


def rectangle(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((64, 64), (320, 320)),
        ((50, 100), (300, 600)),
        ((3000, 4000), (480, 640)),
        ((480, 640), (480, 640)),
        ((1, 9), (71, 640)),
    ],
)
def test_panel_size(shape, size):
    assert _panel_size(shape, min_side=300, max_side=640) == size


@pytest.mark.parametrize('with_image', [False, True])
@pytest.mark.parametrize(('gt', 'pred'), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_panels(gt, pred, with_image):
    image = np.full((64, 64, 3), 120, np.uint8)
    mask = rectangle(64, 64, 8, 8, 32, 32)
    drawn = draw_panels(image, 'a thing', mask if gt else None, mask if pred else None, with_image=with_image)
    bare = int(with_image or not (gt or pred))
    count = bare + gt + pred
    assert drawn.shape[1] == count * 320 + (count - 1) * GAP
    for index in range(count):
        panel = drawn[-320:, index * (320 + GAP) :][:, :320]
        outside = panel[200:, 200:]
        assert (panel[60:140, 60:140] == 120).all()  # the light stays inside the mask
        assert (outside == 120).all() if index < bare else (outside < 80).all()


@pytest.mark.parametrize('gt', [None, False, True])
@pytest.mark.parametrize('pred', [None, False, True])
def test_titles(gt, pred, monkeypatch):
    texts = []
    strip = panels.text_strip
    monkeypatch.setattr(panels, 'text_strip', lambda text, *rest: texts.append(text) or strip(text, *rest))
    masks = [
        None if there is None else rectangle(64, 64, 8, 8, *((32, 32) if there else (8, 8))) for there in (gt, pred)
    ]
    draw_panels(np.zeros((64, 64, 3), np.uint8), 'a thing', *masks, note='a note')
    titles = {None: [], False: [': no target'], True: ['']}
    expected = ['image', *('ground truth' + end for end in titles[gt])]
    iou = '' if gt is None or not (gt or pred) else f' \u00b7 IoU {float(bool(gt and pred)):.2f}'
    expected += ['prediction' + end + iou for end in titles[pred]]
    assert texts == [*expected, '\u201ca thing\u201d', 'a note']


@pytest.mark.parametrize('shape', [(1, 1), (16, 300), (300, 16), (2, 2000), (3000, 2000)])
@pytest.mark.parametrize('masked', ['none', 'one pixel', 'all'])
def test_any_shape(shape, masked):
    mask = np.full(shape, masked == 'all')
    mask[0, 0] = masked != 'none'
    drawn = draw_panels(np.zeros((*shape, 3), np.uint8), 'x' * 2000, pred_mask=mask)
    assert drawn.dtype == np.uint8
    assert MIN_WIDTH <= drawn.shape[1] <= 2 * 640 + GAP


def test_masks_of_another_size_are_resized():
    image = np.zeros((128, 96, 3), np.uint8)
    large, small = rectangle(128, 96, 32, 24, 96, 72), rectangle(32, 24, 8, 6, 24, 18)
    same, other = (draw_panels(image, 'x', mask, large).astype(int) for mask in (large, small))
    assert np.mean(np.abs(same - other).max(axis=2) > 40) < 0.02  # corners are rounded a little


@pytest.mark.parametrize('value', [0, 255, 'color'])
def test_outline_shows_on_any_image(value):
    image = np.full((64, 64, 3), PRED_COLOR if value == 'color' else value, np.uint8)
    before = image.copy()
    drawn = overlay_mask(image, rectangle(64, 64, 16, 16, 48, 48), dimming=0.0)
    assert len(np.unique(drawn[20:44, 12:20].reshape(-1, 3), axis=0)) > 1
    assert np.array_equal(drawn[:8, :8].max(), before[:8, :8].max())
    assert np.array_equal(image, before)


@pytest.mark.parametrize('size', [(64, 64), (320, 320), (4000, 4000)])
def test_one_pixel_is_not_lost(size):
    image = np.zeros((320, 320, 3), np.uint8)
    row, column = size[0] // 4, size[1] // 2
    drawn = overlay_mask(image, rectangle(*size, row, column, row + 1, column + 1)).max(axis=2)
    rows, columns = np.nonzero(drawn > 100)
    assert abs(rows.mean() - 80) < 5
    assert abs(columns.mean() - 160) < 5


def test_outline_of_an_enlarged_mask_has_no_stairs():
    grid = np.mgrid[:64, :64] - 31.5
    disc = np.hypot(*grid) < 20
    drawn = overlay_mask(np.zeros((640, 640, 3), np.uint8), disc)
    rows, columns = np.nonzero((drawn == PRED_COLOR).all(axis=2))
    radii = np.hypot(rows - 319.5, columns - 319.5)
    assert abs(radii.mean() - 200) < 4
    assert radii.std() < 3  # nearest neighbours: stairs of ten pixels


def test_contact_sheet():
    images = [np.full((10 + 5 * index, 20, 3), 10 * index, np.uint8) for index in range(3)]
    sheet = contact_sheet(images, columns=2)
    assert sheet.shape == (15 + GAP + 20, 2 * 20 + 4 * GAP, 3)
    assert (sheet[-20:, :20] == 20).all()
    assert contact_sheet(images, columns=2, width=36).shape[1] == 36
    with pytest.raises(ValueError, match='needs an image'):
        contact_sheet([])


@pytest.mark.parametrize(
    ('first', 'second', 'iou'),
    [((0, 0, 4, 4), (0, 0, 4, 4), 1.0), ((0, 0, 4, 4), (0, 2, 4, 6), 1 / 3), ((0, 0, 0, 0), (0, 0, 0, 0), 0.0)],
)
def test_iou(first, second, iou):
    assert mask_iou(rectangle(8, 8, *first), rectangle(8, 8, *second)) == pytest.approx(iou)
