"""gRefCOCO, parquet and MDETR files that are damaged or too large: a message that names the place, and no output."""

from __future__ import annotations

import copy
import json
import os

import pytest
from layouts import mdetr_file, parquet_rows
from test_sources import POLYGON, SCHEMAS, edit, write_mdetr, write_parquet

from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
from mmmagnet.datasets.converters.mdetr import convert_mdetr
from mmmagnet.datasets.converters.parquet import convert_parquet
from mmmagnet.utils.errors import DataError


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
        (lambda file: file['annotations'][0].pop('original_id'), 'annotation 50: field original_id is missing'),
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
