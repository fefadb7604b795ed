"""People's own data that cannot be used: the message names file, place and fix, and nothing is written."""

from __future__ import annotations

import json

import pytest
from layouts import HEIGHT, WIDTH, coco, labelme, table_rows
from PIL import Image
from test_custom import write_json

from mmmagnet.datasets.converters.custom import convert_custom
from mmmagnet.utils.errors import DataError


def change_row(**fields):
    return lambda rows: rows[0].update(fields)


BAD_ROWS = {
    'no image': (lambda rows: rows[0].pop('image'), 'line 1: field image is missing'),
    'no such image': (change_row(image='9.png'), r'line 1: .*9\.png: no such image'),
    'a name of no file': (change_row(image='a' * 5000), "field image is 'aaa.*; expected the name of a file"),
    'no expression': (lambda rows: rows[0].pop('expression'), 'line 1: field expression is missing'),
    'a number': (change_row(expression=4), 'line 1: field expression is 4; expected str or list'),
    'no such mask': (change_row(mask='no.png'), r'line 1: .*no\.png: no such mask'),
    'mask of a number': (change_row(mask=3), 'line 1: field mask is 3; expected a path, polygons or RLE'),
    'half a polygon': (change_row(mask='[1, 2'), 'line 1: field mask is no JSON'),
    'odd polygon': (change_row(mask=[1, 2, 3]), 'line 1: an outline is damaged'),
    'another size': (change_row(mask='small.png'), r'line 1: .*small\.png is 3 x 2, its image 12 x 8'),
    'colors': (change_row(mask='color.png'), r'color\.png: has colors: save the mask in black and white'),
    'split': (change_row(split=3), 'line 1: field split is 3; expected text'),
}


@pytest.mark.parametrize('name', BAD_ROWS)
def test_damaged_tables(name, images, tmp_path):
    change, message = BAD_ROWS[name]
    rows = table_rows()[:2]
    change(rows)
    Image.new('L', (3, 2)).save(tmp_path / 'small.png')
    Image.new('RGB', (WIDTH, HEIGHT), (255, 0, 0)).save(tmp_path / 'color.png')
    path = tmp_path / 'x.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    with pytest.raises(DataError, match=message) as caught:
        convert_custom([(None, path)], tmp_path / 'out', images)
    assert 'x.jsonl' in str(caught.value)
    assert not (tmp_path / 'out').exists()


BAD_SOURCES = {
    'nothing': (None, 'no such file or folder'),
    'x.txt': (b'a', 'not a form of data that this command reads: give COCO .json'),
    'x.p': (b'a', "it looks like REFER's: use tools/dataset_converters/refer.py"),
    'x.json': (b'{}', 'not COCO JSON: it lacks images and annotations'),
    'part.json': (b'{"images": []}', 'not COCO JSON: it lacks annotations'),
    'no images.json': (b'{"images": [], "annotations": []}', 'field images is empty'),
    'y.json': (b'[', 'not whole JSON'),
    'seqtr.json': (b'{"train": [{"expressions": []}]}', "it looks like SeqTR's"),
    'x.csv': (b'a,b\n1,2\n', r'the first line has to name the columns image, mask, .* there are: a, b'),
    'wide.csv': (b'image,mask,expression\n0.png,,a,b\n', 'line 2: has more fields than the first line'),
    'bytes.csv': (b'image,mask,expression\n\xff\xfe,,a\n', 'not a whole table in UTF-8'),
    'x.jsonl': (b'[1]\n', r'line 1: is \[1\]; expected a dict'),
    'empty.jsonl': (b'', 'holds no expression of an object'),
    'blank.jsonl': (b'{"image": "0.png", "expression": " "}', 'no expression of an object; skipped 1 rows without'),
}


@pytest.mark.parametrize('name', BAD_SOURCES)
def test_sources_that_cannot_be_read(name, images, tmp_path):
    content, message = BAD_SOURCES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        convert_custom([(None, tmp_path / name)], tmp_path / 'out', images)
    assert name in str(caught.value)
    assert not (tmp_path / 'out').exists()


BAD_COCO = {
    'no words': (lambda content: [each.pop('caption') for each in content['annotations']], 'no object has words in'),
    'words of a number': (
        lambda content: content['annotations'][0].update(caption=3),
        'annotation 0: field caption is 3',
    ),
    'no image': (lambda content: content['images'].pop(0), 'annotation 0: field image_id: there is no image 0'),
    'damaged outline': (
        lambda content: content['annotations'][0].update(segmentation=[[1, 2, 3]]),
        'image 0: an outline is damaged',
    ),
    'a size of nothing': (lambda content: content['images'][0].update(width=0), 'image 0: the image has 0 x 8 pixels'),
}


@pytest.mark.parametrize('name', BAD_COCO)
def test_damaged_coco(name, images, tmp_path):
    change, message = BAD_COCO[name]
    content = coco()
    change(content)
    with pytest.raises(DataError, match=message):
        convert_custom([(None, write_json(tmp_path / 'x.json', content))], tmp_path / 'out', images)
    assert not (tmp_path / 'out').exists()


BAD_LABELME = {
    'no file': (lambda content: content.pop('shapes'), 'holds no JSON file of LabelMe'),
    'elsewhere': (lambda content: content.update(imagePath='../../a.png'), 'field imagePath: .* is not in'),
    'points': (lambda content: content['shapes'][0].update(points=[1, 2]), 'shape 0: field points is .* pairs'),
    'label': (lambda content: content['shapes'][0].pop('label'), 'shape 0: field label is missing'),
    'shapes': (lambda content: content.update(shapes=[1]), r'field shapes is \[1\]; expected a list of dicts'),
    'mask': (
        lambda content: content['shapes'][0].update(shape_type='mask', mask='no'),
        'shape 0: field mask is damaged',
    ),
}


@pytest.mark.parametrize('name', BAD_LABELME)
def test_damaged_labelme(name, images, tmp_path):
    change, message = BAD_LABELME[name]
    content = labelme(0)
    change(content)
    write_json(images / '0.json', content)
    with pytest.raises(DataError, match=message):
        convert_custom([(None, images)], tmp_path / 'out', images)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('form', ['COCO', 'LabelMe'])
def test_field_that_no_object_has(form, images, tmp_path):
    source = write_json(tmp_path / 'x.json', coco()) if form == 'COCO' else images
    if form == 'LabelMe':
        write_json(images / '0.json', labelme(0))
    there = 'caption' if form == 'COCO' else 'description'
    message = rf"no object has words in attributes\.WRONG: name another by --field; fields of text there: .*'{there}'"
    with pytest.raises(DataError, match=message):
        convert_custom([(None, source)], tmp_path / 'out', images, field='attributes.WRONG')


def test_fields_of_records_are_named_with_dots(images, tmp_path):
    content = coco()
    for annotation in content['annotations']:
        annotation['attributes'] = {'said': annotation.pop('caption', 'left cup'), 'tags': ['old'], 'sure': True}
    source = write_json(tmp_path / 'x.json', content)
    with pytest.raises(DataError, match=r"text there: 'attributes\.said', 'attributes\.tags', 'many';"):
        convert_custom([(None, source)], tmp_path / 'out', images)
