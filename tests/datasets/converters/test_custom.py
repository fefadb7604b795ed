"""People's own data: the same small set as COCO JSON, as LabelMe files and as a table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from layouts import HEIGHT, LEFT, RIGHT, WIDTH, brush, coco, labelme, table_rows
from PIL import Image

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.converters.custom import convert_custom, sources_by_split
from mmmagnet.datasets.converters.own_data import choose_val, words_of
from mmmagnet.datasets.transforms import LoadReferringMask
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError


def drawn(*polygons):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x1, y1, x2, *_, y2 in polygons:
        mask[y1:y2, x1:x2] = 1
    return mask


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def found(out, split):
    """Image -> expressions -> mask."""
    dataset = RefCOCODataset(str(out), split)
    told = {}
    for item in (dataset.get_data_info(number) for number in range(len(dataset))):
        mask = LoadReferringMask(allow_empty=True)({**item, 'ori_shape': (HEIGHT, WIDTH)})['gt_seg_map']
        told.setdefault(Path(item['img_path']).name, {})[tuple(item['sentences'])] = mask
    return told


def check(out, split, names, expected):
    told = found(out, split)
    assert set(told) == set(names)
    for masks in told.values():
        assert set(masks) == set(expected)
        for said, polygons in expected.items():
            np.testing.assert_array_equal(masks[said], drawn(*polygons), str(said))


LINES = {('the left dog',): [LEFT], ('the dog', 'on the right'): [RIGHT]}


@pytest.mark.parametrize(
    ('field', 'expected'),
    [
        (None, LINES),
        ('caption', LINES),
        ('attributes.said', {('THE LEFT DOG',): [LEFT], ('THE DOG', 'ON THE RIGHT'): [RIGHT]}),
        ('category', {('dog',): [LEFT, RIGHT]}),
        ('many', {('the left dog',): [LEFT], ('a dog',): [LEFT, RIGHT], ('the dog', 'on the right'): [RIGHT]}),
    ],
)
def test_coco_fields(field, expected, images, tmp_path):
    """What several objects share means all of them."""
    out = tmp_path / 'out'
    sources = [('train', write_json(tmp_path / 'a.json', coco()))]
    conversion = convert_custom(sources, out, images, field=field)
    check(out, 'train', [f'{number}.png' for number in range(5)], expected)
    assert not conversion.warnings
    assert not verify_prepared(out).of('error')


def test_splits(images, tmp_path):
    """Told by the names of the sources, or a share of the images, the same each time."""
    files = [write_json(tmp_path / f'{name}.json', coco(numbers)) for name, numbers in (('a', [0, 1]), ('b', [2]))]
    convert_custom([('train', files[0]), ('test', files[1])], tmp_path / 'told', images)
    assert set(found(tmp_path / 'told', 'train')) == {'0.png', '1.png'}
    assert set(found(tmp_path / 'told', 'test')) == {'2.png'}
    misspelt = convert_custom([('trian', files[0]), ('test', files[1])], tmp_path / 'misspelt', images)
    assert misspelt.warnings == ['no ref is of the split train, which training reads; the splits are trian, test']
    whole = write_json(tmp_path / 'c.json', coco())
    conversion = convert_custom([(None, whole)], tmp_path / 'share', images, val_share=0.2)
    assert {split: counts[2] for split, counts in conversion.counts.items()} == {'train': 4, 'val': 1}
    assert 'tells no split of 5 images: 1 of them' in conversion.warnings[0]
    assert not set(found(tmp_path / 'share', 'train')) & set(found(tmp_path / 'share', 'val'))
    assert choose_val('abcdefghij', 0.3) == choose_val('jihgfedcba', 0.3)
    assert [len(choose_val('abcdefghij', share)) for share in (0, 0.1, 0.3, 0.31, 1)] == [0, 1, 3, 4, 10]


def test_coco_with_gaps(images, tmp_path):
    """Boxes, what says nothing, and images without a size; a folder for each split, as Roboflow exports."""
    content = coco([0, 1])
    del content['images'][0]['width']
    content['annotations'][0].update(segmentation=[], bbox=[1, 1, 4, 4])
    content['annotations'][1]['segmentation'] = RIGHT
    content['annotations'][2]['caption'] = ''
    content['annotations'][3]['segmentation'] = [[1, 1, 1, 1, 1, 1], RIGHT]
    (images / 'train').mkdir()
    for number in (0, 1):
        (images / f'{number}.png').rename(images / 'train' / f'{number}.png')
    out = tmp_path / 'out'
    conversion = convert_custom([('train', write_json(images / 'train' / 'x.json', content))], out, images)
    assert conversion.warnings == ['skipped 1 annotations without an outline']
    check(out, 'train', ['0.png', '1.png'], {('the dog', 'on the right'): [RIGHT]})
    written = json.loads((out / 'instances.json').read_text())
    assert [image['file_name'] for image in written['images']] == ['train/0.png', 'train/1.png']
    assert len(written['annotations']) == 3  # one is a distractor


def test_labelme(images, tmp_path):
    for number in range(5):
        write_json(images / f'{number}.json', labelme(number))
    out = tmp_path / 'out'
    convert_custom([('train', images)], out, images)
    check(out, 'train', [f'{number}.png' for number in range(5)], LINES)
    convert_custom([('train', images)], tmp_path / 'label', images, field='label')
    check(tmp_path / 'label', 'train', [f'{number}.png' for number in range(5)], {('dog',): [LEFT, RIGHT]})


def test_labelme_groups_masks_and_other_shapes(images, tmp_path):
    """Parts of one object by their group; masks of the brush; what has no outline is left out."""
    content = labelme(0)
    for shape in content['shapes']:
        shape['group_id'] = 4
    content['shapes'][1]['description'] = ''
    box = {'label': 'c', 'shape_type': 'rectangle', 'points': [[1, 1], [5, 5]], 'description': 'box'}
    content['shapes'] += [brush(), box]
    (images / 'more').mkdir()
    content['imagePath'] = '..\\0.png'
    write_json(images / 'more' / '0.json', content)
    write_json(images / 'settings.json', {'a': 1})
    conversion = convert_custom([('train', images)], tmp_path / 'out', images)
    expected = {('the left dog',): [LEFT, RIGHT], ('brush',): [[8, 0, 11, 0, 11, 2, 8, 2]]}
    check(tmp_path / 'out', 'train', ['0.png'], expected)
    assert conversion.warnings == [
        'skipped 1 JSON files that are not of LabelMe',
        "skipped 1 shapes of the kind 'rectangle', which has no outline",
    ]


@pytest.mark.parametrize('form', ['csv', 'semicolons', 'jsonl'])
def test_table(form, images, tmp_path):
    folder = tmp_path / 'tables'
    (folder / 'masks').mkdir(parents=True)
    pixels = 255 * drawn(LEFT)
    pixels[1, 1] = 128
    Image.fromarray(pixels).convert('RGB').save(folder / 'masks' / 'left.png')
    rows = [{**row, 'split': 'val' if row['image'] == '4.png' else 'train'} for row in table_rows()]
    path = folder / ('x.jsonl' if form == 'jsonl' else 'x.csv')
    if form == 'jsonl':
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    else:
        with path.open('w', encoding='utf-8-sig', newline='') as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=',' if form == 'csv' else ';')
            writer.writeheader()
            for row in rows:
                mask = row['mask']
                writer.writerow({**row, 'mask': mask if isinstance(mask, str) else json.dumps(mask)})
    out = tmp_path / 'out'
    conversion = convert_custom([(None, path)], out, images)
    check(out, 'train', [f'{number}.png' for number in range(4)], {('the left dog',): [LEFT]})
    check(out, 'val', ['4.png'], {('everything',): [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]], ('a cat',): []})
    assert conversion.warnings == ['1 masks have several values above 0: all of them are inside']
    assert conversion.targets == (1, 5, 0)


def test_sources_by_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('a=b.json').touch()
    given = ['train=x.json', 'a=b.json', 'c.json']
    assert sources_by_split(given) == [
        ('train', Path('x.json')),
        (None, Path('a=b.json')),
        (None, Path('c.json')),
    ]
    with pytest.raises(DataError, match=r'y\.json: a second source of the split train'):
        sources_by_split(['train=x.json', 'train=y.json'])
    write_json(tmp_path / 'a.json', coco())
    with pytest.raises(DataError, match='is of another form than'):
        convert_custom([(None, tmp_path / 'a.json'), (None, tmp_path)], tmp_path / 'out', tmp_path)


@pytest.mark.parametrize(
    ('value', 'expected'),
    [('a\n\n b ', ['a', 'b']), (['a', ' ', 'b'], ['a', 'b']), (None, []), ('', []), ([], [])],
)
def test_words(value, expected):
    assert words_of({'x': {'y': value}}, 'x.y', 'here') == expected
    assert words_of({'x': 'text'}, 'x.y', 'here') == []
