"""gRefCOCO, parquet and MDETR files: the same small set in each layout is the same prepared set."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
from mmmagnet.datasets.converters.mdetr import convert_mdetr, files_by_split
from mmmagnet.datasets.converters.parquet import convert_parquet
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.transforms import LoadReferringMask
from mmmagnet.utils.errors import DataError

POLYGON = [[1, 1, 5, 1, 5, 5, 1, 5]]
SCHEMAS = Path(__file__).parents[3] / 'mmmagnet' / 'datasets' / 'schemas'


def refs():
    """Refs as REFER has them: two objects of one image in train, one of another in val."""
    return [
        {
            'ref_id': number,
            'ann_id': 10 + number,
            'category_id': 3,
            'image_id': image_id,
            'split': split,
            'sentences': [{'raw': f'Thing {number}', 'sent_id': 2 * number}, {'raw': 'it', 'sent_id': 2 * number + 1}],
        }
        for number, (image_id, split) in enumerate([(1, 'train'), (1, 'train'), (2, 'val')])
    ]


def instances():
    return {
        'images': [{'id': k, 'file_name': f'{k}.jpg', 'width': 8, 'height': 6} for k in (1, 2)],
        'annotations': [
            {'id': 10 + k, 'image_id': image, 'category_id': 3, 'segmentation': [[k, 1, 5, 1, 5, 5, k, 5]]}
            for k, image in enumerate((1, 1, 2))
        ],
        'categories': [{'id': 3, 'name': 'thing'}],
    }


def write_refer(root):
    folder = root / 'refcoco'
    folder.mkdir(parents=True)
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs(), 2))
    (folder / 'instances.json').write_text(json.dumps(instances()))
    return root


def parquet_rows(text):
    """The same as rows; structures as JSON text or as they are."""
    image = {image['id']: image for image in instances()['images']}
    annotation = {ann['id']: ann for ann in instances()['annotations']}
    rows = []
    for ref in refs():
        row = {name: ref[name] for name in ('ref_id', 'ann_id', 'image_id', 'split', 'category_id')}
        parts = {'raw_anns': annotation[ref['ann_id']], 'raw_image_info': image[ref['image_id']]}
        if text:
            row['raw_sentences'] = json.dumps(ref['sentences'])
            row.update({name: json.dumps(value) for name, value in parts.items()})
        else:
            row['sentences'] = ref['sentences']
            row.update(parts)
        rows.append(row)
    return rows


def write_parquet(path, rows):
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def mdetr_file(split):
    """The same as MDETR's: an image entry an expression."""
    images = {image['id']: image for image in instances()['images']}
    annotation = {ann['id']: ann for ann in instances()['annotations']}
    content = {'images': [], 'annotations': [], 'categories': instances()['categories']}
    for ref in refs():
        for sentence in ref['sentences']:
            if ref['split'] != split:
                continue
            entry = len(content['images'])
            image = {
                **images[ref['image_id']],
                'id': entry,
                'original_id': ref['image_id'],
                'caption': sentence['raw'],
            }
            content['images'].append(image)
            ann = annotation[ref['ann_id']]
            content['annotations'].append({**ann, 'id': 50 + entry, 'image_id': entry, 'original_id': ann['id']})
    return content


def write_mdetr(root):
    root.mkdir(parents=True)
    files = {}
    for split in ('train', 'val'):
        files[split] = root / f'finetune_refcoco_{split}.json'
        files[split].write_text(json.dumps(mdetr_file(split)))
    return files


def essence(folder):
    """What all layouts tell: for each split and object its sentences, and its mask."""
    found = {}
    for split in ('train', 'val'):
        dataset = RefCOCODataset(str(folder), split)
        for index in range(len(dataset)):
            item = dataset.get_data_info(index)
            mask = LoadReferringMask()({**item, 'ori_shape': (6, 8)})['gt_seg_map']
            name = Path(item['img_path']).name
            found[split, name, tuple(item['sentences'])] = (mask.shape, mask.tobytes())
    return found


def test_all_layouts_are_the_same_set(tmp_path):
    pytest.importorskip('pyarrow')
    images = tmp_path / 'none'
    convert_refer(write_refer(tmp_path / 'refer'), 'refcoco', 'unc', tmp_path / 'a', images)
    for text in (True, False):
        file = write_parquet(tmp_path / f'p{text}' / 'x.parquet', parquet_rows(text))
        given = [file] if text else [file.parent]
        conversion = convert_parquet(given, tmp_path / f'b{text}', images)
        assert conversion.counts == {'train': (2, 4, 1), 'val': (1, 2, 1)}
    convert_mdetr(write_mdetr(tmp_path / 'mdetr'), tmp_path / 'c', images)
    expected = essence(tmp_path / 'a')
    assert len(expected) == 3
    for name in ('bTrue', 'bFalse', 'c'):
        assert essence(tmp_path / name) == expected, name
    assert (tmp_path / 'bTrue' / 'refs.jsonl').read_bytes() == (tmp_path / 'a' / 'refs.jsonl').read_bytes()


@pytest.fixture
def grefs(tmp_path):
    """gRefCOCO: an expression for two objects, one for one, one for none."""
    told = [([10, 11], [3, 3]), ([12], 3), ([-1], [-1]), (-1, -1)]
    records = [
        {
            'ref_id': number,
            'ann_id': ann_ids,
            'category_id': categories,
            'image_id': 2 if ann_ids == [12] else 1,
            'split': 'train',
            'no_target': ann_ids in (-1, [-1]),
            'sentences': [{'raw': f'what {number}', 'sent_id': number}],
        }
        for number, (ann_ids, categories) in enumerate(told)
    ]
    folder = tmp_path / 'root' / 'grefcoco'
    folder.mkdir(parents=True)
    (folder / 'grefs(unc).json').write_text(json.dumps(records))
    (folder / 'instances.json').write_text(json.dumps(instances()))
    return tmp_path / 'root'


def test_grefcoco(grefs, tmp_path):
    conversion = convert_grefcoco(grefs, 'unc', tmp_path / 'out')
    assert conversion.counts == {'train': (4, 4, 2)}
    lines = [json.loads(line) for line in (tmp_path / 'out' / 'refs.jsonl').read_text().splitlines()]
    assert [line['ann_ids'] for line in lines] == [[10, 11], [12], [], []]
    assert [line.get('category_id') for line in lines] == [3, 3, None, None]
    dataset = RefCOCODataset(str(tmp_path / 'out'), 'train')
    masks = [
        LoadReferringMask(allow_empty=True)({**dataset.get_data_info(index), 'ori_shape': (6, 8)})['gt_seg_map']
        for index in range(4)
    ]
    assert [mask.any() for mask in masks] == [True, True, False, False]
    convert_grefcoco(grefs / 'grefcoco', 'unc', tmp_path / 'again')  # the folder itself
    assert (tmp_path / 'again' / 'refs.jsonl').read_bytes() == (tmp_path / 'out' / 'refs.jsonl').read_bytes()


def test_schemas(grefs, tmp_path):
    jsonschema = pytest.importorskip('jsonschema')
    convert_grefcoco(grefs, 'unc', tmp_path / 'a')
    convert_mdetr(write_mdetr(tmp_path / 'mdetr'), tmp_path / 'b', tmp_path)
    ref, whole = (json.loads((SCHEMAS / f'{name}.schema.json').read_text()) for name in ('ref', 'instances'))
    for schema in (ref, whole):
        jsonschema.Draft202012Validator.check_schema(schema)
    for folder in ('a', 'b'):
        for line in (tmp_path / folder / 'refs.jsonl').read_text().splitlines():
            jsonschema.validate(json.loads(line), ref)
        jsonschema.validate(json.loads((tmp_path / folder / 'instances.json').read_text()), whole)
    bad = json.loads((tmp_path / 'a' / 'refs.jsonl').read_text().splitlines()[0])
    for name, value in (('ann_ids', ['x']), ('sentences', []), ('split', '')):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**bad, name: value}, ref)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda told: told[0].pop('ann_id'), r'ref 0: field ann_id is missing'),
        (lambda told: told[0].update(ann_id=[1.5]), r'ref 0: field ann_id is \[1.5\]; expected ids, or -1'),
        (lambda told: told[2].update(no_target=False), r'ref 2: field no_target is False, field ann_id is \[-1\]'),
        (lambda told: told[0].update(ann_id=[]), r'field ann_id is \[\]'),
        (lambda told: told[0].update(ann_id=[12]), r'has no annotation 12 on image 1: use files of one set'),
        (
            lambda told: [ref.update(sentences=[{'raw': ' ', 'sent_id': 1}]) for ref in told],
            'holds no ref that can be used; skipped 4 refs: no sentence with a word',
        ),
        (lambda told: told.clear(), 'not a list of refs'),
        (lambda told: told[0]['sentences'][0].update(raw='\ud800'), 'field raw is .* half a character'),
    ],
)
def test_damaged_grefcoco(grefs, tmp_path, change, message):
    edit(grefs / 'grefcoco' / 'grefs(unc).json', change)
    with pytest.raises(DataError, match=message) as caught:
        convert_grefcoco(grefs, 'unc', tmp_path / 'out')
    assert 'grefs(unc).json' in str(caught.value)
    assert not (tmp_path / 'out').exists()


def test_grefcoco_that_is_not_there(grefs, tmp_path):
    with pytest.raises(DataError, match='give the folder that holds grefcoco/ as ROOT'):
        convert_grefcoco(tmp_path, 'unc', tmp_path / 'out')
    (grefs / 'grefcoco' / 'instances.json').unlink()
    with pytest.raises(DataError, match=r'instances\.json: no such file: it is distributed beside grefs\(unc\)\.json'):
        convert_grefcoco(grefs, 'unc', tmp_path / 'out')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda row: row.pop('raw_anns'), r'row 0: field raw_anns is missing'),
        (lambda row: row.update(raw_anns='{"x'), r'row 0: column raw_anns is no JSON'),
        (lambda row: row.update(raw_anns='[1]'), r'row 0: column anns has 0 annotations 10'),
        (lambda row: row.update(raw_anns='1'), r'row 0: field raw_anns is 1; expected dict or list'),
        (lambda row: row.update(raw_image_info='{"file_name": "a", "width": 3}'), 'field height is missing'),
        (lambda row: row.update(ref_id=None), 'field ref_id is None'),
        (lambda row: row.update(raw_sentences='[]'), 'holds no ref that can be used; skipped 1 refs: no sentences'),
        (lambda row: row.update(raw_anns='{"area": 3}'), 'field segmentation is missing'),
    ],
)
def test_damaged_parquet(tmp_path, change, message):
    rows = parquet_rows(text=True)[:1]
    change(rows[0])
    file = write_parquet(tmp_path / 'x.parquet', rows)
    with pytest.raises(DataError, match=message) as caught:
        convert_parquet([file], tmp_path / 'out', tmp_path)
    assert 'x.parquet' in str(caught.value)
    assert not (tmp_path / 'out').exists()


def test_parquet_file_that_aborts_its_reader(tmp_path, monkeypatch):
    """As pyarrow does on some damaged metadata: only the process that looks at it dies."""
    file = write_parquet(tmp_path / 'x.parquet', parquet_rows(text=True))
    monkeypatch.setattr('mmmagnet.datasets.converters.parquet_rows._declare', lambda *_: os._exit(6))
    with pytest.raises(DataError, match=r'x\.parquet: not a whole parquet file \(its metadata is damaged\)'):
        convert_parquet([file], tmp_path / 'out', tmp_path)


def test_parquet_files_that_cannot_be_read(tmp_path, monkeypatch):
    file = write_parquet(tmp_path / 'x.parquet', parquet_rows(text=True))
    file.write_bytes(file.read_bytes()[:-20])
    for given, message in (
        (file, r'x\.parquet: not a whole parquet file'),
        (tmp_path / 'none.parquet', r'none\.parquet: no such file'),
        (SCHEMAS, r'holds no \*\.parquet'),
    ):
        with pytest.raises(DataError, match=message):
            convert_parquet([given], tmp_path / 'out', tmp_path)
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(DataError, match=r"pip install 'pyarrow>=15,<27'"):
        convert_parquet([file], tmp_path / 'out', tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda file: file['images'][0].pop('caption'), 'image 0: field caption is missing'),
        (lambda file: file['images'][0].pop('original_id'), 'image 0: field original_id is missing'),
        (lambda file: file['annotations'].pop(0), 'image 0: no annotation names it'),
        (
            lambda file: file['annotations'][0].pop('segmentation'),
            'annotation 50: field segmentation is missing, .* give .* by --instances',
        ),
        (lambda file: file.pop('categories'), 'field categories is missing'),
        (lambda file: file['images'][0].update(caption='\ud800'), 'image 0: field caption is .* half a character'),
        (lambda file: file['annotations'][1].update(image_id=0), 'image 0: has more than one annotation'),
        (lambda file: file['annotations'][0].pop('original_id'), 'original_id is in some annotations only'),
        (lambda file: file['images'][1].update(original_id=2), 'original_id: 10 is on another image'),
    ],
)
def test_damaged_mdetr(tmp_path, change, message):
    files = write_mdetr(tmp_path / 'mdetr')
    content = copy.deepcopy(mdetr_file('train'))
    change(content)
    if 'segmentation' in message:  # of both sentences of the object
        content['annotations'][1].pop('segmentation')
    files['train'].write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        convert_mdetr(files, tmp_path / 'out', tmp_path)
    assert 'finetune_refcoco_train.json' in str(caught.value)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('change', [{'caption': 5}, {'width': 'x'}])
def test_damage_is_told_of_its_own_file(tmp_path, change):
    """Of several files the one is named that is damaged, with the number that it has there."""
    files = write_mdetr(tmp_path / 'mdetr')
    edit(files['val'], lambda file: [image.update(change) for image in file['images']])
    with pytest.raises(DataError, match=r'finetune_refcoco_val\.json, image 0: field'):
        convert_mdetr(files, tmp_path / 'out', tmp_path)
    rows = parquet_rows(text=True)
    rows[2]['raw_anns'] = '{}'
    parts = [write_parquet(tmp_path / 'a.parquet', rows[:2]), write_parquet(tmp_path / 'b.parquet', rows[2:])]
    with pytest.raises(DataError, match=r'b\.parquet, row 0: column raw_anns: field segmentation is missing'):
        convert_parquet(parts, tmp_path / 'out', tmp_path)
    assert not (tmp_path / 'out').exists()


def test_mdetr_without_ids_of_annotations(tmp_path):
    """Then the outline tells which expressions mean the same object."""
    files = write_mdetr(tmp_path / 'mdetr')
    convert_mdetr(files, tmp_path / 'with', tmp_path)
    for file in files.values():
        edit(file, lambda content: [annotation.pop('original_id') for annotation in content['annotations']])
    convert_mdetr(files, tmp_path / 'without', tmp_path)
    assert essence(tmp_path / 'without') == essence(tmp_path / 'with')


def test_parquet_with_fewer_columns(tmp_path):
    """Images are measured, and the category is the annotation's."""
    rows = parquet_rows(text=True)
    convert_parquet([write_parquet(tmp_path / 'x.parquet', rows)], tmp_path / 'with', tmp_path)
    names = {key: f'COCO_train2014_{key:012d}' for key in (1, 2)}
    for row in rows:
        del row['raw_image_info'], row['category_id']
        row['file_name'] = f'../{names[row["image_id"]]}_{row["ann_id"]}.jpg'
    file = write_parquet(tmp_path / 'y.parquet', rows)
    with pytest.raises(DataError, match=r'COCO_train2014_000000000001\.jpg must tell its size'):
        convert_parquet([file], tmp_path / 'without', tmp_path)
    for name in names.values():
        Image.new('RGB', (8, 6)).save(tmp_path / f'{name}.jpg')
    convert_parquet([file], tmp_path / 'without', tmp_path)
    assert (tmp_path / 'without' / 'refs.jsonl').read_bytes() == (tmp_path / 'with' / 'refs.jsonl').read_bytes()
    content = json.loads((tmp_path / 'without' / 'instances.json').read_text())
    assert [(image['file_name'], image['width'], image['height']) for image in content['images']] == [
        (f'{name}.jpg', 8, 6) for name in names.values()
    ]


def test_parquet_of_no_rows_or_twice(tmp_path):
    file = write_parquet(tmp_path / 'x.parquet', parquet_rows(text=True))
    with pytest.raises(DataError, match='is given twice'):
        convert_parquet([file, tmp_path], tmp_path / 'out', tmp_path)
    from pyarrow import parquet

    parquet.write_table(parquet.read_table(file).slice(0, 0), file)
    with pytest.raises(DataError, match='holds no refs'):
        convert_parquet([file], tmp_path / 'out', tmp_path)


@pytest.mark.parametrize(
    ('limit', 'value', 'message'),
    [
        ('MAX_REFS', 2, 'row 2: more than 2 refs'),
        ('MAX_WRITTEN', 100, 'row 0: more than .* 100 characters'),
        ('MAX_VALUES', 2, 'column .* has 3 values in'),
        ('MAX_BYTES', 40, 'bytes, more than .* in 40: give a file of refs'),
    ],
)
def test_parquet_limits(tmp_path, monkeypatch, limit, value, message):
    file = write_parquet(tmp_path / 'x.parquet', parquet_rows(text=True))
    module = 'output' if limit in ('MAX_REFS', 'MAX_WRITTEN') else 'parquet_rows'
    monkeypatch.setattr(f'mmmagnet.datasets.converters.{module}.{limit}', value)
    with pytest.raises(DataError, match=message):
        convert_parquet([file], tmp_path / 'out', tmp_path)
    assert not (tmp_path / 'out').exists()


def test_parquet_that_repeats_itself(tmp_path, monkeypatch):
    """What the file tells once is in memory once: 2 GB from 100 KB do not fit into 64 MB."""
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    row = parquet_rows(text=True)[0]
    row['raw_anns'] = json.dumps({'segmentation': POLYGON, 'x': 'a' * 2**21})
    once = pyarrow.array([0] * 1000, pyarrow.int8())
    columns = {name: pyarrow.DictionaryArray.from_arrays(once, [value]) for name, value in row.items()}
    file = tmp_path / 'x.parquet'
    parquet.write_table(pyarrow.table(columns), file, store_schema=False)  # else it says how to read it
    assert file.stat().st_size < 2**17
    monkeypatch.setattr('mmmagnet.datasets.converters.output.MAX_WRITTEN', 2**24)
    monkeypatch.setattr('mmmagnet.datasets.converters.output.MAX_REFS', 1000)
    pool = pyarrow.system_memory_pool()  # not the default one: only this test has used it
    before = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(pool)
    try:
        with pytest.raises(DataError, match='row 7: more than 1000 refs or 16777216 characters'):
            convert_parquet([file], tmp_path / 'out', tmp_path)
    finally:
        pyarrow.set_memory_pool(before)
    assert 0 < pool.max_memory() < 2**26


def test_json_limit(grefs, tmp_path, monkeypatch):
    monkeypatch.setattr('mmmagnet.datasets.converters.reading.MAX_JSON', 50)
    with pytest.raises(DataError, match=r'grefs\(unc\)\.json: has \d+ bytes, more than 50'):
        convert_grefcoco(grefs, 'unc', tmp_path / 'out')


def test_files_by_split():
    given = ['finetune_refcoco_train.json', 'finetune_refcoco+_testA.json', 'val=x.json']
    assert {split: path.name for split, path in files_by_split(given).items()} == {
        'train': given[0],
        'testA': given[1],
        'val': 'x.json',
    }
    for wrong, message in (
        (['x.json'], 'give SPLIT=FILE'),
        (['a_val.json', 'val=b'], 'a second file of the split val'),
    ):
        with pytest.raises(DataError, match=message):
            files_by_split(wrong)
