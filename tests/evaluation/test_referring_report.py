"""What the metric writes: lines of pairs, the log, the report, and the names of scores."""

import json
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger
from pycocotools import mask as coco_mask
from scored_pairs import evaluated, random_samples, reference, score

BOTH = ['original', 'input']


@pytest.mark.parametrize(
    ('given', 'resolution'), [('input', 'input'), ('original', 'original'), (BOTH, 'original'), (BOTH, 'input')]
)
def test_out_file(given, resolution, tmp_path):
    samples = random_samples(6)
    samples[2].update(distractors=3, target_score=0.25)
    path = tmp_path / 'scores' / 'val.jsonl'
    scores = score(samples[::-1], resolution=given, out_file=str(path))
    order = [given] if isinstance(given, str) else given
    lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    assert [line['resolution'] for line in lines] == order * 6
    lines = [line for line in lines if line['resolution'] == resolution]
    counts, _ = reference(samples, resolution)
    assert [path.name for path in path.parent.iterdir()] == ['val.jsonl']
    for index, (line, sample, (intersection, union)) in enumerate(zip(lines, samples, counts, strict=True)):
        mask = line.pop('mask')
        assert line == {
            'sample_idx': index,
            'resolution': resolution,
            'intersection': intersection,
            'union': union,
            'predicted': coco_mask.area(mask),
            'no_target': not sample['gt_sem_seg']['data'].any(),
            'iou': intersection / union if union else 0.0,
            'ref_id': index // 2,
            'sent_id': 100 + index,
            'split': 'val',
            'expression': f'größter {index}',
            'image': f'images/{index // 3}.jpg',
            **({'family': 'size'} if index % 3 == 0 else {}),
            **({'distractors': 3, 'target_score': 0.25} if index == 2 else {}),
        }
        predicted = sample['pred_sem_seg']['data'][0].numpy()
        if resolution == 'input':
            predicted = (sample['seg_logits']['data'][0] > 0).numpy()
        np.testing.assert_array_equal(coco_mask.decode(mask), predicted)
    name = 'ref/mIoU' if resolution == order[0] else f'ref/{resolution}/mIoU'
    assert 100 * np.mean([line['iou'] for line in lines]) == pytest.approx(scores[name])


@pytest.mark.parametrize('bootstrap', [0, 50])
def test_log_and_report(bootstrap, caplog):
    """A line for each resolution, which it states, and one for each group of pairs."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        metric, _ = evaluated(random_samples(12), resolution=['input', 'original'], bootstrap=bootstrap, breakdown=True)
    logger.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records]
    for (resolution, account), size in zip(metric.report.items(), ('12 x 12', 'each image its own'), strict=True):
        assert account['protocol'].startswith('masks at the size of the ')
        interval = ''
        if bootstrap:
            low, high = account['intervals']['oIoU']
            assert low <= account['scores']['oIoU'] <= high
            interval = f' [{low:.2f}, {high:.2f}]'
        mine = [line for line in lines if f'at {resolution} resolution ({size})' in line]
        assert mine[0].startswith(f'ref scores at {resolution} resolution')
        assert f': oIoU {account["scores"]["oIoU"]:.2f}{interval}, mIoU' in mine[0] and mine[0].endswith('12 pairs')
        assert list(account['breakdown']) == ['length', 'position', 'family']
        assert account['breakdown']['family']['size']['pairs'] == 4
        assert ', family size: oIoU ' in mine[-1] and mine[-1].endswith(', 4 pairs')


def test_images_of_one_name_in_several_folders():
    """Frames of videos have the same names, and are different images."""
    samples = random_samples(40)
    intervals = []
    for path in ('images/video{}/000.jpg', 'images/{}.jpg', 'images/000.jpg'):
        given = [{**sample, 'img_path': path.format(index)} for index, sample in enumerate(samples)]
        intervals.append(evaluated(given, bootstrap=100)[0].report['input']['intervals']['oIoU'])
    assert intervals[0] == intervals[1]
    low, high = intervals[0]
    assert low < high
    assert intervals[2][0] == intervals[2][1]  # one image: every resample is the set itself


def test_prefix():
    assert 'oIoU' in score(random_samples(2), prefix=None)
    assert 'val/oIoU' in score(random_samples(2), prefix='val')
