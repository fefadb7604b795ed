"""gRefCOCO, parquet and MDETR files: the same small set in each layout is the same prepared set."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from layouts import instances, mdetr_file, parquet_rows, refs
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


def write_refer(root):
    folder = root / 'refcoco'
    folder.mkdir(parents=True)
    (folder / 'refs(unc).p').write_bytes(pickle.dumps(refs(), 2))
    (folder / 'instances.json').write_text(json.dumps(instances()))
    return root


def write_parquet(path, rows):
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


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


def test_parquet_with_fewer_columns(tmp_path):
    """Images are measured, and the category is the annotation's."""
    rows = parquet_rows(text=True)
    convert_parquet([write_parquet(tmp_path / 'x.parquet', rows)], tmp_path / 'with', tmp_path)
    names = {key: f'COCO_train2014_{key:012d}' for key in (1, 2)}
    for row in rows:
        del row['raw_image_info'], row['category_id']
        row['file_name'] = f'../{names[row["image_id"]]}_{row["ann_id"]}.jpg'
    file = write_parquet(tmp_path / 'y.parquet', rows)
    with pytest.raises(DataError, match=r'by --images: .*COCO_train2014_000000000001\.jpg: no such image'):
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
