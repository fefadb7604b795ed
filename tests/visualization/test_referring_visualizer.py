"""Data samples are drawn by our visualizer alone, by mmseg's hook and to every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample
from PIL import Image

from mmmagnet.registry import VISUALIZERS
from mmmagnet.visualization import ReferringVisualizer
from mmmagnet.visualization.panels import GAP


def rectangle(height: int, width: int, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def sample_of(path: str = 'a.png', **fields: np.ndarray) -> SegDataSample:
    sample = SegDataSample(metainfo={'expression': 'the thing on the left', 'img_path': path})
    sample.set_data({name: PixelData(data=torch.from_numpy(mask)[None]) for name, mask in fields.items()})
    return sample


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


def test_a_second_training_has_a_visualizer_of_its_own(tmp_path):
    """In one process, as in a notebook: under one name, each writes into its folder."""
    for name in ('first', 'second'):
        settings = {'vis_backends': [{'type': 'LocalVisBackend'}], 'save_dir': str(tmp_path / name)}
        made = VISUALIZERS.build({'type': 'ReferringVisualizer', 'name': 'visualizer', **settings})
        assert ReferringVisualizer.get_instance('visualizer') is ReferringVisualizer.get_current_instance() is made
        made.add_scalar('loss', 1.0)
    assert {path.parents[1].name for path in tmp_path.rglob('scalars.json')} == {'first', 'second'}


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
        assert Image.open(path).width == panels * 320 + (panels - 1) * GAP
