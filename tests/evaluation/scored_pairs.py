"""Pairs as the evaluator hands them to the metric, and their scores by loops over pixels."""

from fractions import Fraction

import numpy as np
import torch
from PIL import Image

from mmmagnet.evaluation import ReferringSegMetric

SIZE = 12


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


def evaluated(samples, batch=3, **settings):
    metric = ReferringSegMetric(**settings)
    for start in range(0, len(samples), batch):
        metric.process(None, samples[start : start + batch])
    return metric, metric.evaluate(len(samples))


def score(samples, batch=3, **settings):
    return evaluated(samples, batch, **settings)[1]
