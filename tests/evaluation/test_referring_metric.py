"""Scores against counts made pixel by pixel, at both resolutions, in one process and in two."""

import json

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from mmengine.dataset import DefaultSampler
from PIL import Image
from scored_pairs import SIZE, evaluated, make_sample, random_samples, reference, score

from mmmagnet.evaluation import ReferringSegMetric
from mmmagnet.evaluation.referring_metric import resize_nearest
from mmmagnet.utils.errors import DataError

NAMES = ['oIoU', 'mIoU', *(f'P@0.{tenths}' for tenths in range(5, 10)), 'gIoU', 'N-acc', 'T-acc', 'pairs']
KEYS = [f'ref/{name}' for name in NAMES]


def reference_of_both(samples):
    """The scores of both resolutions under the names of one pass over them."""
    first, second = (reference(samples, resolution)[1] for resolution in ('input', 'original'))
    return {**first, **{name.replace('ref/', 'ref/original/'): value for name, value in second.items()}}


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


def rectangle(pixels):
    mask = np.zeros(200, np.uint8)
    mask[:pixels] = 1
    return mask.reshape(10, 20)


def rectangles(truth, predicted):
    """A pair of masks of so many pixels, one inside the other."""
    mask = rectangle(predicted)
    return make_sample(0, rectangle(truth), mask.astype(np.float32) - 0.5, mask)


@pytest.mark.parametrize('tenths', [5, 6, 7, 8, 9])
def test_thresholds_are_exact(tenths):
    """IoU = X counts, one pixel less does not, whatever X is in binary."""
    for union in range(10, 201, 10):
        at = union * tenths // 10
        scores = []
        for intersection in (at, at - 1):
            scores.append(score([rectangles(union, intersection)], resolution='original')[f'ref/P@0.{tenths}'])
        assert scores == [100, 0]


@pytest.mark.parametrize(
    ('truth', 'predicted', 'expected'), [(0, 0, 0), (0, 9, 0), (9, 0, 0), (9, 9, 100), (200, 200, 100)]
)
@pytest.mark.parametrize('resolution', ['input', 'original'])
def test_empty_and_full(truth, predicted, expected, resolution):
    scores = score([rectangles(truth, predicted)], resolution=resolution)
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
    dist.barrier()
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
