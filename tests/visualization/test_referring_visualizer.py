"""Images hold what they should and survive any image, mask and expression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample
from PIL import Image

from mmmagnet.registry import VISUALIZERS
from mmmagnet.visualization import ReferringVisualizer, draw_panels, mask_iou, overlay_mask, referring_visualizer
from mmmagnet.visualization.referring_visualizer import GAP, _panel_size


def rectangle(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def sample_of(path: str = 'a.png', **fields: np.ndarray) -> SegDataSample:
    sample = SegDataSample(metainfo={'expression': 'the thing on the left', 'img_path': path})
    sample.set_data({name: PixelData(data=torch.from_numpy(mask)[None]) for name, mask in fields.items()})
    return sample


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((64, 64), (256, 256)),
        ((50, 100), (250, 500)),
        ((3000, 4000), (600, 800)),
        ((480, 640), (480, 640)),
        ((1, 9), (89, 800)),
    ],
)
def test_panel_size(shape, size):
    assert _panel_size(shape, min_side=240, max_side=800) == size


@pytest.mark.parametrize(('gt', 'pred', 'panels'), [(0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 1, 3)])
def test_panels(gt, pred, panels):
    image = np.zeros((64, 64, 3), np.uint8)
    mask = rectangle(64, 64, 8, 8, 32, 32)
    image = draw_panels(image, 'a thing', mask if gt else None, mask if pred else None)
    assert image.dtype == np.uint8
    assert image.shape[1] == panels * 256 + (panels - 1) * GAP
    body = image[-256:]
    assert not body[:, :256].any()  # the first panel is the bare image
    for panel in range(1, panels):
        part = body[:, panel * (256 + GAP) : panel * (256 + GAP) + 256].any(axis=-1)
        assert part[40:120, 40:120].all()
        assert not part[140:].any()


@pytest.mark.parametrize('gt', [False, True])
@pytest.mark.parametrize('pred', [False, True])
def test_no_target_is_said(gt, pred, monkeypatch):
    texts = []
    strip = referring_visualizer._text_strip
    monkeypatch.setattr(referring_visualizer, '_text_strip', lambda *given: texts.extend(given[0]) or strip(*given))
    masks = [rectangle(64, 64, 8, 8, *((32, 32) if there else (8, 8))) for there in (gt, pred)]
    draw_panels(np.zeros((64, 64, 3), np.uint8), 'a thing', *masks)
    titles = ['image', 'ground truth', 'prediction']
    for number, there in enumerate((gt, pred), start=1):
        titles[number] += '' if there else ': no target'
    assert texts[:3] == titles
    assert ('IoU' in texts[3]) == (gt or pred)


@pytest.mark.parametrize(
    'expression',
    [
        '',
        'short',
        'a b ' * 300,
        'x' * 2000,
        '\u7ea2\u8272\u7684\u5706',
        '\u043a\u0440\u0443\u0433',
        '\u05d0\u05d1',
        '\U0001f600 \u200d',
        'two\nlines\t\x00',
    ],
)
@pytest.mark.parametrize('shape', [(16, 300), (300, 16), (64, 64)])
def test_any_expression(expression, shape):
    image = draw_panels(np.zeros((*shape, 3), np.uint8), expression, pred_mask=np.ones(shape, bool))
    assert image.shape[2] == 3


def test_fonts_may_be_lacking(monkeypatch):
    from PIL import ImageFont

    def lacking(*args: object, **kwargs: object) -> None:
        raise OSError('no such font')

    monkeypatch.setattr(ImageFont, 'truetype', lacking)
    monkeypatch.setattr(ImageFont, 'load_default', lambda size: ImageFont.load_default_imagefont())
    draw_panels(np.zeros((64, 64, 3), np.uint8), 'caf\u00e9 \u7ea2\u8272 ' * 20, pred_mask=np.ones((64, 64), bool))


def test_masks_of_another_size_are_resized():
    image = np.zeros((128, 96, 3), np.uint8)
    whole = rectangle(128, 96, 32, 24, 96, 72)
    assert np.array_equal(
        draw_panels(image, 'x', whole, whole), draw_panels(image, 'x', rectangle(32, 32, 8, 8, 24, 24), whole)
    )


@pytest.mark.parametrize('value', [0, 255, 'color'])
def test_overlay_shows_on_any_image(value):
    color = (235, 60, 190)
    image = np.full((64, 64, 3), color if value == 'color' else value, np.uint8)
    mask = rectangle(64, 64, 16, 16, 48, 48)
    drawn = overlay_mask(image, mask, color)
    edge = drawn[12:52, 12:52].reshape(-1, 3).astype(int)
    assert len(np.unique(edge, axis=0)) > 1
    assert np.array_equal(drawn[:8], image[:8])
    assert np.array_equal(image[20, 20], image[0, 0])  # the given image is left as it is


@pytest.mark.parametrize(
    ('first', 'second', 'iou'),
    [((0, 0, 4, 4), (0, 0, 4, 4), 1.0), ((0, 0, 4, 4), (0, 2, 4, 6), 1 / 3), ((0, 0, 0, 0), (0, 0, 0, 0), 0.0)],
)
def test_iou(first, second, iou):
    assert mask_iou(rectangle(8, 8, *first), rectangle(8, 8, *second)) == pytest.approx(iou)


@pytest.mark.parametrize('backend', ['LocalVisBackend', 'TensorboardVisBackend'])
def test_stock_hook_and_backends(backend, tmp_path):
    if backend == 'TensorboardVisBackend':
        pytest.importorskip('tensorboard')
    Image.fromarray(np.full((32, 48, 3), 90, np.uint8)).save(tmp_path / 'a.png')
    visualizer = ReferringVisualizer.get_instance(
        f'test_{backend}', vis_backends=[{'type': backend}], save_dir=str(tmp_path / 'out')
    )
    hook = SegVisualizationHook(draw=True)
    hook._visualizer = visualizer
    mask = rectangle(32, 48, 4, 4, 20, 20)
    hook.after_test_iter(None, 0, {}, [sample_of(str(tmp_path / 'a.png'), gt_sem_seg=mask, pred_sem_seg=mask)])
    visualizer.close()
    written = [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]
    assert written
    if backend == 'LocalVisBackend':
        assert [path.name for path in written] == ['test_a.png_1.png']


def test_out_file_and_missing_parts(tmp_path):
    visualizer = VISUALIZERS.build({'type': 'ReferringVisualizer', 'name': 'test_out_file'})
    image = np.zeros((64, 64, 3), np.uint8)
    mask = rectangle(64, 64, 0, 0, 9, 9)
    table = [
        (None, {}, 1),
        (sample_of(), {}, 1),
        (sample_of(pred_sem_seg=mask), {}, 2),
        (sample_of(gt_sem_seg=mask, pred_sem_seg=mask), {'draw_gt': False}, 2),
        (sample_of(gt_sem_seg=mask, pred_sem_seg=mask), {'draw_pred': False}, 2),
        (sample_of(gt_sem_seg=mask, pred_sem_seg=mask), {}, 3),
    ]
    for index, (sample, options, panels) in enumerate(table):
        path = tmp_path / 'new' / f'{index}.png'
        visualizer.add_datasample('x', image, sample, out_file=path, **options)
        assert Image.open(path).width == panels * 256 + (panels - 1) * GAP
