"""Files of two models: matched pair by pair, or refused."""

import json

import numpy as np
import pytest

from mmmagnet.evaluation import compare, compare_files, score_terms
from mmmagnet.utils.errors import DataError


def line(index, share, split='val', resolution='input', size=(10, 10), **changes):
    truth = 20 + index % 30
    intersection = int(truth * share)
    pair = {
        'sample_idx': index,
        'split': split,
        'ref_id': index // 2,
        'sent_id': index,
        'resolution': resolution,
        'image': f'{index // 4}.jpg',
        'intersection': intersection,
        'union': truth + 3,
        'predicted': intersection + 3,
        'no_target': False,
        'mask': {'size': list(size), 'counts': ''},
        'expression': 'größter',
    }
    return {**pair, **changes}


def write(path, lines):
    path.write_text(''.join(json.dumps(each) + '\n' for each in lines), encoding='utf-8')
    return path


def model(seed, **changes):
    shares = np.random.default_rng(seed).random(40)
    return [line(index, share, **changes) for index, share in enumerate(shares)]


def test_pairs_are_matched_whatever_their_order(tmp_path):
    one, other = model(1), model(2)
    first = write(tmp_path / 'a.jsonl', one)
    second = write(tmp_path / 'b.jsonl', [other[index] for index in np.random.default_rng(0).permutation(40)])
    (comparison,) = compare_files(first, second, resamples=100)
    assert (comparison.split, comparison.resolution) == ('val', 'input')
    assert (comparison.pairs, comparison.images) == (40, 10)
    images = [pair['image'] for pair in one]
    assert comparison.differences == compare(score_terms(one), score_terms(other), images, 100)
    lines = comparison.lines()
    assert lines[0] == 'val, input resolution: 40 pairs in 10 images'
    assert lines[1].startswith(f'  oIoU   A {comparison.differences[0].first:6.2f}  B ')
    assert comparison.as_dict()['differences'][0]['significant'] in (True, False)
    json.dumps(comparison.as_dict())


def test_splits_and_resolutions_are_kept_apart(tmp_path):
    parts = [('val', 'input'), ('val', 'original'), ('testA', 'input')]
    files = [
        write(
            tmp_path / f'{seed}.jsonl',
            [each for split, resolution in parts for each in model(seed, split=split, resolution=resolution)],
        )
        for seed in (1, 2)
    ]
    comparisons = compare_files(*files, resamples=10)
    assert [(each.split, each.resolution, each.pairs) for each in comparisons] == [(*part, 40) for part in parts]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda lines: lines[:-2], r'b\.jsonl: lacks 2 of the 40 pairs of .*a\.jsonl, the first is ref 19, sent_id'),
        (lambda lines: [*lines, line(41, 0.5)], r'a\.jsonl: lacks 1 of the 41 pairs of .*b\.jsonl'),
        (lambda lines: [*lines, lines[3]], r'b\.jsonl, line 41: ref 1, sent_id 3 of val is there twice'),
        (lambda lines: model(2, resolution='original'), r'a\.jsonl holds val at input, .*b\.jsonl val at original'),
        (lambda lines: model(2, split='testA'), 'val at input, .* testA at input: score both on the same'),
        (lambda lines: model(2, size=(12, 12)), r'scored at 10 x 10 in .* at 12 x 12 in .*--resolution original'),
        (lambda lines: [{**lines[0], 'union': 99}, *lines[1:]], 'ref 0, sent_id 0 of val: .* different ground truths'),
        (lambda lines: [{**each, 'no_target': True} for each in lines], 'different ground truths'),
        (lambda lines: [{**lines[0], 'ref_id': '7'}], r"line 1: field ref_id is '7'"),
        (lambda lines: [{**lines[0], 'union': True}], 'line 1: field union is True'),
        (lambda lines: [{**lines[0], 'intersection': 50}], 'line 1: field intersection is 50'),
        (lambda lines: [{**lines[0], 'mask': {}}], "field 'size' is missing"),
        (lambda lines: [lines[0], {'split': 'val'}], "line 2: field 'ref_id' is missing; write it with"),
        (lambda lines: [7], 'line 1: not a pair'),
        (lambda lines: [], r'b\.jsonl: holds no pairs'),
    ],
)
def test_refused(change, message, tmp_path):
    first, second = write(tmp_path / 'a.jsonl', model(1)), write(tmp_path / 'b.jsonl', change(model(2)))
    with pytest.raises(DataError, match=message):
        compare_files(first, second, resamples=10)


def test_images_of_other_folders(tmp_path):
    """Images of one name in several folders stay apart, and both models may have read them from different roots."""
    folders = [f'video{index // 4}/000.jpg' for index in range(40)]
    files = [
        write(
            tmp_path / f'{seed}.jsonl',
            [{**pair, 'image': f'{root}/{image}'} for pair, image in zip(model(seed), folders, strict=True)],
        )
        for seed, root in ((1, '/data'), (2, 'elsewhere'))
    ]
    (comparison,) = compare_files(*files, resamples=100)
    (expected,) = compare_files(write(tmp_path / 'a', model(1)), write(tmp_path / 'b', model(2)), resamples=100)
    assert comparison == expected


@pytest.mark.parametrize('content', [b'{', b'\xff\xfe', b'[' * 100_000])
def test_damaged_file(content, tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_bytes(content)
    with pytest.raises(DataError, match=r'a\.jsonl, line 1: not a pair'):
        compare_files(path, path)
