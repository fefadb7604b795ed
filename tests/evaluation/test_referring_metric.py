"""Scores against counts made pixel by pixel, at both resolutions, in one process and in two."""

import json
import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from mmengine.dataset import DefaultSampler
from mmengine.logging import MMLogger
from PIL import Image
from pycocotools import mask as coco_mask

from mmmagnet.evaluation import ReferringSegMetric
from mmmagnet.evaluation.referring_metric import resize_nearest
from mmmagnet.utils.errors import DataError

SIZE = 12
NAMES = ['oIoU', 'mIoU', *(f'P@0.{tenths}' for tenths in range(5, 10)), 'gIoU', 'N-acc', 'T-acc', 'pairs']
KEYS = [f'ref/{name}' for name in NAMES]


def make_sample(index, truth, logits, predicted):
    """What the network gives for a pair, as the evaluator hands it over."""
    sample = {
        'sample_idx': index,
        'gt_sem_seg': {'data': torch.from_numpy(truth)[None]},
        'seg_logits': {'data': torch.from_numpy(logits)[None]},
        'pred_sem_seg': {'data': torch.from_numpy(predicted)[None]},
        'img_path': f'images/{index // 3}.jpg',
        'ref_id': index // 2,
        'sent_id': 100 + index,
        'expression': f'größter {index}',
        'split': 'val',
    }
    return {**sample, 'family': 'size'} if index % 3 == 0 else sample


def random_samples(number, seed=0):
    """Pairs with images of many sizes; some masks are empty, some predictions too, some nearly right."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(number):
        height, width = rng.integers(5, 30, 2)
        truth = (rng.random((height, width)) < rng.choice([0, 0.3, 0.8])).astype(np.uint8)
        noise = rng.random(truth.shape) < rng.choice([0.02, 0.1, 0.5])
        predicted = (truth ^ noise).astype(np.uint8) * rng.integers(0, 2, dtype=np.uint8)
        logits = rng.normal(size=(SIZE, SIZE)).astype(np.float32) * 0.3
        if index % 4:
            squashed = np.array(Image.fromarray(truth).resize((SIZE, SIZE), Image.NEAREST))
            logits += 2 * squashed.astype(np.float32) - 1
        if index % 8 == 5:
            logits -= 4  # nothing is predicted
        samples.append(make_sample(index, truth, logits, predicted))
    return samples


def reference(samples, resolution):
    """I and U of each pair by loops over pixels, and the scores in exact arithmetic."""
    counts, masks = [], []
    for sample in samples:
        truth = sample['gt_sem_seg']['data'][0].numpy()
        if resolution == 'input':
            truth = np.array(Image.fromarray(truth).resize((SIZE, SIZE), Image.NEAREST))
            predicted = sample['seg_logits']['data'][0].numpy() > 0
        else:
            predicted = sample['pred_sem_seg']['data'][0].numpy()
        masks.append(predicted)
        pairs = list(zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True))
        counts.append((sum(bool(t) and bool(p) for t, p in pairs), sum(bool(t) or bool(p) for t, p in pairs)))
    ious = [Fraction(i, u) if u else Fraction(0) for i, u in counts]
    nothing = [not any(sample['gt_sem_seg']['data'].flatten().tolist()) for sample in samples]
    told = [not any(mask.flatten().tolist()) for mask in masks]
    generous = [Fraction(t) if n else iou for n, t, iou in zip(nothing, told, ious, strict=True)]
    pairs = list(zip(nothing, told, strict=True))
    scores = {
        'ref/oIoU': float(100 * Fraction(sum(i for i, _ in counts), max(1, sum(u for _, u in counts)))),
        'ref/mIoU': float(100 * sum(ious) / len(ious)),
        'ref/gIoU': float(100 * sum(generous) / len(generous)),
        'ref/N-acc': 100 * pairs.count((True, True)) / max(1, nothing.count(True)),
        'ref/T-acc': 100 * pairs.count((False, False)) / max(1, nothing.count(False)),
        'ref/pairs': len(samples),
    }
    for tenths in range(5, 10):
        scores[f'ref/P@0.{tenths}'] = float(100 * Fraction(sum(iou >= Fraction(tenths, 10) for iou in ious), len(ious)))
    return counts, scores


def reference_of_both(samples):
    """The scores of both resolutions under the names of one pass over them."""
    first, second = (reference(samples, resolution)[1] for resolution in ('input', 'original'))
    return {**first, **{name.replace('ref/', 'ref/original/'): value for name, value in second.items()}}


def evaluated(samples, batch=3, **settings):
    metric = ReferringSegMetric(**settings)
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric, metric.evaluate(len(samples))


def score(samples, batch=3, **settings):
    return evaluated(samples, batch, **settings)[1]


@pytest.fixture(scope='module')
def thousand():
    return random_samples(1000, seed=1)


@pytest.mark.parametrize('resolution', ['input', 'original'])
def test_against_counting(resolution, thousand):
    counts, expected = reference(thousand, resolution)
    assert any(union == 0 for _, union in counts)
    scores = score(thousand, resolution=resolution)
    assert list(scores) == KEYS
    assert scores == pytest.approx(expected, rel=1e-12)
    assert all(isinstance(value, (int, float)) for value in scores.values())
    assert all(0 < value < 100 for name, value in scores.items() if name != 'ref/pairs')


def test_both_resolutions_from_one_pass(thousand):
    metric, scores = evaluated(thousand, resolution=['input', 'original'])
    assert scores == pytest.approx(reference_of_both(thousand), rel=1e-12)
    assert list(metric.report) == ['input', 'original']
    for account, before in zip(metric.report.values(), ('', 'original/'), strict=True):
        assert account['scores'] == {name: scores[f'ref/{before}{name}'] for name in NAMES}
    swapped = score(thousand, resolution=['original', 'input'])
    assert swapped['ref/input/oIoU'] == scores['ref/oIoU']


@pytest.mark.parametrize('truths', ['with target', 'without target'])
def test_scores_of_no_target_are_there_where_it_occurs(truths):
    samples = [sample for sample in random_samples(40) if sample['gt_sem_seg']['data'].any() == (truths[4:5] == ' ')]
    lacking = {'gIoU', 'N-acc', 'T-acc'} if truths == 'with target' else {'T-acc'}
    for index, sample in enumerate(samples):
        sample['sample_idx'] = index
    assert {f'ref/{name}' for name in lacking} == set(KEYS) - set(score(samples))


def test_an_object_lost_by_resizing_is_still_a_target():
    truth = np.zeros((40, 40), np.uint8)
    truth[0, 0] = 1  # no centre of a pixel of 10 x 20 falls on it
    logits = np.full((10, 20), -1, np.float32)
    sample = make_sample(0, truth, logits, np.zeros((40, 40), np.uint8))
    assert score([sample]) == {**dict.fromkeys(KEYS[:7], 0.0), 'ref/pairs': 1}


def rectangle(pixels, height=10, width=20):
    mask = np.zeros(height * width, np.uint8)
    mask[:pixels] = 1
    return mask.reshape(height, width)


@pytest.mark.parametrize('tenths', [5, 6, 7, 8, 9])
def test_thresholds_are_exact(tenths):
    """IoU = X counts, one pixel less does not, whatever X is in binary."""
    for union in range(10, 201, 10):
        at = union * tenths // 10
        scores = []
        for intersection in (at, at - 1):
            truth, predicted = rectangle(union), rectangle(intersection)
            sample = make_sample(0, truth, predicted.astype(np.float32) - 0.5, predicted)
            scores.append(score([sample], resolution='original')[f'ref/P@0.{tenths}'])
        assert scores == [100, 0]


@pytest.mark.parametrize(
    ('truth', 'predicted', 'expected'), [(0, 0, 0), (0, 9, 0), (9, 0, 0), (9, 9, 100), (200, 200, 100)]
)
@pytest.mark.parametrize('resolution', ['input', 'original'])
def test_empty_and_full(truth, predicted, expected, resolution):
    mask = rectangle(predicted)
    sample = make_sample(0, rectangle(truth), mask.astype(np.float32) - 0.5, mask)
    scores = score([sample], resolution=resolution)
    assert {key: scores[key] for key in KEYS[:7]} == dict.fromkeys(KEYS[:7], expected)
    if not truth:
        assert {key: scores[key] for key in KEYS[7:9]} == dict.fromkeys(KEYS[7:9], 0 if predicted else 100)


def test_a_logit_of_zero_is_background():
    sample = make_sample(0, rectangle(9), np.zeros((10, 20), np.float32), rectangle(9))
    assert score([sample])['ref/oIoU'] == 0


def test_large_sums_are_exact():
    """10 834 pairs of 480 x 480: sums beyond what 32 bits hold."""
    pair = {'intersection': 480 * 480 - 1, 'union': 480 * 480, 'predicted': 480 * 480, 'no_target': False}
    pair |= {'resolution': 'input', 'size': (480, 480)}
    scores = ReferringSegMetric().compute_metrics([pair] * 20000)
    assert scores['oIoU'] == pytest.approx(100 * (1 - 1 / 480**2), rel=1e-14)
    assert scores['pairs'] == 20000


@pytest.mark.parametrize('target', [(480, 480), (12, 12), (5, 7), (1, 1), (448, 448)])
def test_nearest_is_pillows(target):
    """To the pixel; from 640 to 480 torch's nearest-exact is not."""
    for height, width in [(480, 640), (427, 640), (640, 425), (12, 12), (3, 1000), (612, 612)]:
        numbers = np.arange(height * width, dtype=np.int32).reshape(height, width)
        expected = np.array(Image.fromarray(numbers).resize(target[::-1], Image.NEAREST))
        np.testing.assert_array_equal(resize_nearest(torch.from_numpy(numbers), target).numpy(), expected)


def test_padded_and_repeated_pairs_count_once():
    samples = random_samples(7)
    metric = ReferringSegMetric()
    for sample in [*samples, *samples[:2]]:
        metric.process(None, [sample])
    assert metric.evaluate(7) == pytest.approx(reference(samples, 'input')[1])


def test_missing_pairs():
    metric = ReferringSegMetric()
    metric.process(None, random_samples(3))
    with pytest.raises(RuntimeError, match='3 of 5 pairs were scored'):
        metric.evaluate(5)
    with pytest.raises(RuntimeError, match='0 of 3 pairs'):  # results do not leak into the next evaluation
        metric.evaluate(3)


def test_resolution_mismatch():
    sample = random_samples(1)[0]
    sample['gt_sem_seg']['data'] = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    with pytest.raises(
        DataError, match=r'0\.jpg: ground truth \(12, 12\) does not have the original size .*after Resize'
    ):
        score([sample], resolution='original')


@pytest.mark.parametrize('resolution', ['full', [], ['input', 'input'], ['input', 'full']])
def test_unknown_resolution(resolution):
    with pytest.raises(ValueError, match='resolution='):
        ReferringSegMetric(resolution=resolution)


@pytest.mark.parametrize('resolution', ['input', 'original'])
@pytest.mark.parametrize('both', [False, True])
def test_out_file(resolution, both, tmp_path):
    samples = random_samples(6)
    samples[2].update(distractors=3, target_score=0.25)
    path = tmp_path / 'scores' / 'val.jsonl'
    given = ['original', 'input'] if both else resolution
    scores = score(samples[::-1], resolution=given, out_file=str(path))
    lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    assert [line['resolution'] for line in lines] == (given * 6 if both else [resolution] * 6)
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
    name = 'ref/input/mIoU' if both and resolution == 'input' else 'ref/mIoU'
    assert 100 * np.mean([line['iou'] for line in lines]) == pytest.approx(scores[name])


@pytest.mark.parametrize(('resolution', 'stated'), [('input', '(12 x 12)'), ('original', '(each image its own)')])
def test_log_line_states_the_resolution(resolution, stated, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        scores = score(random_samples(5), resolution=resolution)
    logger.removeHandler(caplog.handler)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f'ref scores at {resolution} resolution {stated}: oIoU {scores["ref/oIoU"]:.2f}, mIoU')
    assert line.endswith('5 pairs')


def test_log_of_both_with_intervals_and_breakdown(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        metric, _ = evaluated(random_samples(12), resolution=['input', 'original'], bootstrap=50, breakdown=True)
    logger.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records]
    for resolution, account in metric.report.items():
        assert account['protocol'].startswith('masks at the size of the ')
        score, (low, high) = account['scores']['oIoU'], account['intervals']['oIoU']
        assert low <= score <= high
        mine = [line for line in lines if f'at {resolution} resolution ({account["size"]})' in line]
        assert f': oIoU {score:.2f} [{low:.2f}, {high:.2f}], mIoU' in mine[0]
        assert list(account['breakdown']) == ['length', 'position', 'family']
        assert account['breakdown']['family']['size']['pairs'] == 4
        assert ', family size: oIoU ' in mine[-1]
        assert mine[-1].endswith(', 4 pairs')


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


def work(rank, world, folder):
    """One of two processes: scores what its sampler gives it."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world)
    samples = random_samples(101)
    metric = ReferringSegMetric(resolution=['input', 'original'], bootstrap=20, out_file=f'{folder}/pairs.jsonl')
    given = list(DefaultSampler(range(101), shuffle=False))
    assert len(given) == 51  # 101 over 2: padded by one
    for index in given:
        metric.process(None, [samples[index]])
    scores = metric.evaluate(101)
    scores['report'] = metric.report
    # not every item is visited
    metric.process(None, [samples[rank]])
    try:
        metric.evaluate(101)
    except RuntimeError as error:
        scores['error'] = str(error)
    with open(f'{folder}/{rank}.json', 'w') as file:  # noqa: PTH123
        json.dump(scores, file)
    dist.destroy_process_group()


def test_two_processes(tmp_path):
    multiprocessing.spawn(work, (2, str(tmp_path)), nprocs=2)
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in range(2))
    assert first == second
    assert first.pop('error').startswith('2 of 101 pairs were scored')
    samples = random_samples(101)
    metric, scores = evaluated(samples, resolution=['input', 'original'], bootstrap=20)
    assert first.pop('report') == json.loads(json.dumps(metric.report))
    assert first == scores
    assert first == pytest.approx(reference_of_both(samples), rel=1e-12)
    assert len((tmp_path / 'pairs.jsonl').read_text().splitlines()) == 202
