"""Every sentence is read again from its text alone and looked up in the masks, by rules written here."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmagnet.datasets.synthetic import FULL, make_sample

WORDS: dict[str, tuple[str, str]] = {
    **{word: ('shape', word) for word in ('circle', 'square', 'triangle', 'cross', 'star', 'diamond', 'ring')},
    **{word: ('colour', word) for word in ('red', 'green', 'blue', 'yellow', 'purple', 'orange', 'cyan', 'white')},
    **{word: ('texture', word) for word in ('plain', 'striped', 'dotted')},
    **{word: ('size', word) for word in ('big', 'small')},
    **{'disc': ('shape', 'circle'), 'box': ('shape', 'square'), 'plus': ('shape', 'cross'), 'hoop': ('shape', 'ring')},
    **{'violet': ('colour', 'purple'), 'large': ('size', 'big'), 'little': ('size', 'small')},
    **{'solid': ('texture', 'plain'), 'stripy': ('texture', 'striped'), 'spotted': ('texture', 'dotted')},
}
PLACES = {'second': 2, 'third': 3, 'fourth': 4, 'two': 2, 'three': 3, 'four': 4}
SIDES = {'upper': 'top', 'lower': 'bottom'}
EXTREMES = {
    **{'leftmost': 'left', 'rightmost': 'right', 'topmost': 'top', 'bottommost': 'bottom'},
    **{'highest': 'top', 'lowest': 'bottom'},
}
RELATIONS = {
    r'(?:to the |on the )?left of': 'left',
    r'(?:to the |on the )?right of': 'right',
    'above|over': 'top',
    'below|under': 'bottom',
    'next to|beside|near': 'near',
}
Item = dict[str, Any]


def kind(text: str, items: list[Item]) -> list[int]:
    """Objects that have all attributes named; fails on a word that is neither an attribute nor a filler."""
    named = []
    for word in text.replace('that is', '').split():
        if word in WORDS:
            named.append(WORDS[word])
        else:
            assert word in ('the', 'thing', 'object', 'one'), f'{word!r} in {text!r}'
    return [i for i, item in enumerate(items) if all(item[name] == value for name, value in named)]


def coordinate(item: Item, side: str) -> float:
    x, y = item['centre']
    return {'left': x, 'right': -x, 'top': y, 'bottom': -y}[side]


def answer(text: str, items: list[Item], side_length: int) -> tuple[str, list[list[int]]]:
    """The family of a sentence and what it refers to, once for each way to understand it."""
    for pattern, relation in RELATIONS.items():
        if found := re.fullmatch(f'(.*?) (?:{pattern}) (the .*)', text):
            anchors = kind(found[2], items)
            assert len(anchors) == 1, text
            (ax, ay) = items[anchors[0]]['centre']
            readings: list[list[int]] = [[], []]
            for i in set(kind(found[1], items)) - set(anchors):
                dx, dy = items[i]['centre'][0] - ax, items[i]['centre'][1] - ay
                if relation == 'near':
                    distance = float(np.hypot(dx, dy)) / side_length
                    holds = [distance < 0.37, distance < 0.49]
                else:
                    forward = {'left': -dx, 'right': dx, 'top': -dy, 'bottom': dy}[relation]
                    across = abs(dy) if relation in ('left', 'right') else abs(dx)
                    holds = [forward > across, forward > 0]
                for reading, held in zip(readings, holds, strict=True):
                    reading.extend([i] * int(held))
            return 'relation', readings
    if found := re.fullmatch(r'(?:the )?(second|third|fourth) (.*?)(?: counting)? from the (\w+)', text):
        return 'order', [counted(PLACES[found[1]], kind(found[2], items), found[3], items)]
    if found := re.fullmatch(r'(.*) number (two|three|four) from the (\w+)', text):
        return 'order', [counted(PLACES[found[2]], kind(found[1], items), found[3], items)]
    if found := re.fullmatch(r'(?:the )?(left|right|top|bottom|upper|lower) (.*)', text):
        return 'position', in_half(kind(found[2], items), SIDES.get(found[1], found[1]), items, side_length)
    if found := re.fullmatch(r'(.*) (?:on|at) the (left|right|top|bottom)(?: side)?', text):
        return 'position', in_half(kind(found[1], items), found[2], items, side_length)
    if found := re.fullmatch(r'(?:the )?(\w+(?:most|est)) (.*)', text):
        return 'position', [counted(1, kind(found[2], items), EXTREMES[found[1]], items)]
    if found := re.fullmatch(r'(.*) furthest to the (left|right)', text):
        return 'position', [counted(1, kind(found[1], items), found[2], items)]
    return 'attribute', [kind(text, items)]


def counted(place: int, found: list[int], side: str, items: list[Item]) -> list[int]:
    assert len(found) >= max(2, place)
    return sorted(found, key=lambda i: coordinate(items[i], side))[place - 1 : place]


def in_half(found: list[int], side: str, items: list[Item], side_length: int) -> list[list[int]]:
    (first,) = counted(1, found, side, items)
    x, y = items[first]['centre']
    middle = side_length / 2
    assert {'left': x < middle, 'right': x > middle, 'top': y < middle, 'bottom': y > middle}[side]
    return [[first]]


def seen(annotations: list[Item]) -> list[Item]:
    """Attributes of the objects, with the mean position of the pixels of each mask."""
    items = []
    for annotation in annotations:
        rows, columns = np.nonzero(coco_mask.decode(annotation['segmentation']))
        items.append({**annotation, 'centre': (columns.mean() + 0.5, rows.mean() + 0.5)})
    return items


def test_every_sentence_identifies_its_object(folder):
    items = {image_id: seen(found) for image_id, found in folder.annotations.items()}
    side = folder.instances['info']['size']
    families: Counter[str] = Counter()
    for ref in folder.refs:
        inside = items[ref['image_id']]
        target = [item['id'] for item in inside].index(ref['ann_ids'][0])
        for sentence in ref['sentences']:
            family, readings = answer(sentence['raw'], inside, side)
            assert family == sentence['family'], sentence
            assert all(reading == [target] for reading in readings), (sentence, readings, target)
            families[family] += 1
    total = sum(families.values())
    if folder.level == 'easy':
        assert set(families) == {'attribute', 'position'}
        assert min(families.values()) > 0.3 * total
    elif folder.level == 'relations':
        assert set(families) == {'relation'}
    else:
        assert set(families) == {'attribute', 'position', 'order', 'relation'}
        assert min(families.values()) > 0.12 * total


def test_position_words_keep_a_margin(folder):
    """The nearest rival of a position or order expression is a margin of the image's side away."""
    if folder.level == 'relations':
        pytest.skip('no expression of this level is of a position')
    side = folder.instances['info']['size']
    margin = {'easy': 0.1, 'full': 0.08}[folder.level] * side
    items = {image_id: seen(found) for image_id, found in folder.annotations.items()}
    checked = 0
    for ref in folder.refs:
        inside = items[ref['image_id']]
        target = [item['id'] for item in inside].index(ref['ann_ids'][0])
        for sentence in ref['sentences']:
            found = re.fullmatch(r'(?:the )?(left|right|top|bottom) (.*)', sentence['raw'])
            if found is None or sentence['family'] != 'position':
                continue
            own = coordinate(inside[target], found[1])
            others = [coordinate(inside[i], found[1]) for i in kind(found[2], inside) if i != target]
            assert min(others) - own >= margin - 1e-6
            checked += 1
    assert checked > 10


def test_a_distractor_shares_an_attribute(folder):
    names = ('shape', 'colour', 'size') + (('texture',) if folder.level == 'full' else ())
    for ref in folder.refs:
        inside = folder.annotations[ref['image_id']]
        target = next(item for item in inside if item['id'] == ref['ann_ids'][0])
        others = [item for item in inside if item is not target]
        assert any(o['shape'] == target['shape'] or o['colour'] == target['colour'] for o in others)
        for sentence in ref['sentences']:
            if sentence['family'] != 'attribute':
                continue
            named = [WORDS[word] for word in sentence['raw'].split() if word in WORDS]
            assert {name for name, _ in named} <= set(names)
            if len(named) > 1:
                assert any(o[name] == value for o in others for name, value in named), sentence


def test_full_has_near_duplicates():
    """Most images of the level `full` have two objects that differ in one attribute only."""
    names = ('shape', 'colour', 'texture', 'size')
    near = 0
    for index in range(40):
        objects = make_sample(FULL, FULL.size, 3, 'val', index).scene.objects
        pairs = [(a, b) for i, a in enumerate(objects) for b in objects[:i]]
        near += any(sum(getattr(a, name) != getattr(b, name) for name in names) == 1 for a, b in pairs)
    assert near > 0.8 * 40
