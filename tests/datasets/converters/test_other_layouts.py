"""MDETR's files with instances, SeqTR's, CRIS's and the mirrors' other layouts; and one taken for another."""

from __future__ import annotations

import json
import pickle

import pytest
from layouts import instances, mdetr_file, parquet_rows
from PIL import Image
from test_published_layouts import LEFT, PLAIN, RIGHT, check, drawn, read, ref, rle
from test_sources import POLYGON, write_mdetr, write_parquet

from mmmagnet.datasets.converters.cris import convert_cris
from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
from mmmagnet.datasets.converters.mdetr import convert_mdetr
from mmmagnet.datasets.converters.parquet import convert_parquet
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.converters.seqtr import convert_seqtr
from mmmagnet.utils.errors import DataError

NAME = 'COCO_train2014_000000000001.jpg'


def test_published_mdetr_with_instances(tmp_path):
    """Its files have no outlines; those of instances.json, with all objects of the images, are joined."""
    files = write_mdetr(tmp_path / 'mdetr')
    convert_mdetr(files, tmp_path / 'with', tmp_path)
    for split, file in files.items():
        content = mdetr_file(split)
        for annotation in content['annotations']:
            del annotation['segmentation']
        file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r'annotation 50: field segmentation is missing, .* by --instances'):
        convert_mdetr(files, tmp_path / 'out', tmp_path)
    whole = instances()
    whole['annotations'].append({'id': 99, 'image_id': 1, 'category_id': 3, 'segmentation': POLYGON})
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(whole))
    conversion = convert_mdetr(files, tmp_path / 'out', tmp_path, instances=path)
    assert '6 sentences have no raw text: their cleaned one (sent) stands in for it' in conversion.warnings[0]
    assert (tmp_path / 'out' / 'refs.jsonl').read_bytes() == (tmp_path / 'with' / 'refs.jsonl').read_bytes()
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [annotation['id'] for annotation in written['annotations']] == [10, 11, 12, 99]
    whole['annotations'] = whole['annotations'][1:]
    path.write_text(json.dumps(whole))
    with pytest.raises(DataError, match=r'has no annotation 10 on image 1: use files of one set'):
        convert_mdetr(files, tmp_path / 'again', tmp_path, instances=path)


def seqtr_file():
    size = {'width': 8, 'height': 6}
    entry = {'image_id': 1, **size, 'bbox': [0, 1, 3, 3], 'category_id': 2, 'mask': rle(LEFT)}
    right = {**entry, 'mask': [[4, 2, 7, 2, 7, 5, 4, 5]], 'expressions': ['right']}
    return {
        'train': [{**entry, 'expressions': ['left', 'it']}, right, {**entry, 'expressions': ['first']}],
        'testA': [{**right, 'image_id': 2}],
    }


def test_seqtr(tmp_path):
    file = tmp_path / 'instances.json'
    file.write_text(json.dumps(seqtr_file()))
    (tmp_path / NAME).touch()
    conversion = convert_seqtr(file, tmp_path / 'out', tmp_path)
    assert conversion.counts == {'train': (2, 4, 1), 'testA': (1, 1, 1)}
    check(tmp_path / 'out', [(['left', 'it', 'first'], [LEFT]), (['right'], [RIGHT]), (['right'], [RIGHT])])
    lines, _ = read(tmp_path / 'out')
    assert [line['image_id'] for line in lines] == [1, 1, 2]  # COCO's, so that mixed sets find shared images
    assert [sentence['sent_id'] for line in lines for sentence in line['sentences']] == [0, 1, 3, 2, 4]
    assert 'no ids of refs' in conversion.warnings[-1]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda file: file['train'][0].pop('mask'), r'train\[0\]: field mask is missing'),
        (lambda file: file['train'][0].update(mask=3), r'train\[0\]: field mask is 3; expected list or dict'),
        (lambda file: file['train'][0].update(expressions='a'), r"train\[0\]: field expressions is 'a'"),
        (lambda file: file['train'][1].update(expressions=[1]), r'train\[1\]: field expressions is 1'),
        (lambda file: file['train'][1].update(width=9), r'train\[1\]: .* is 9 x 6 here and 8 x 6 before'),
        (lambda file: file['train'][1].update(empty=True), r"train\[1\]: field 'empty' is True, a flag"),
        (lambda file: file.update(train=[], testA=[]), 'splits with lists of entries with expressions are needed'),
    ],
)
def test_damaged_seqtr(tmp_path, change, message):
    content = seqtr_file()
    change(content)
    (tmp_path / 'x.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        convert_seqtr(tmp_path / 'x.json', tmp_path / 'out', tmp_path)
    assert not (tmp_path / 'out').exists()


@pytest.fixture
def cris(tmp_path):
    """Annotations and masks; where two outlines overlap, CRIS's masks read 254."""
    root = tmp_path / 'root'
    for folder in ('anns/refcoco', 'masks/refcoco'):
        (root / folder).mkdir(parents=True)
    entry = {'bbox': [0, 1, 3, 4], 'cat': 0, 'img_name': NAME}
    said = {7: ['left', 'it'], 8: ['right'], 9: []}
    entries = [
        {**entry, 'segment_id': key, 'sentences': [{'idx': k, 'sent_id': k, 'sent': text} for k, text in enumerate(t)]}
        for key, t in said.items()
    ]
    for key, part in zip(said, (LEFT, RIGHT, RIGHT), strict=True):
        mask = 255 * drawn(part)
        mask[part[0].start, part[1].start] = 254
        Image.fromarray(mask).save(root / 'masks/refcoco' / f'{key}.png')
    (root / 'anns/refcoco/train.json').write_text(json.dumps(entries[:1]))
    (root / 'anns/refcoco/testA.json').write_text(json.dumps(entries[1:]))
    return root


def test_cris(cris, tmp_path):
    conversion = convert_cris(cris, 'refcoco', tmp_path / 'out', tmp_path)
    assert conversion.counts == {'train': (1, 2, 1), 'testA': (1, 1, 1)}
    check(tmp_path / 'out', [(['left', 'it'], [LEFT]), (['right'], [RIGHT])])
    assert '3 sentences have no raw text' in conversion.warnings[0]
    lines, _ = read(tmp_path / 'out')
    assert lines[0]['image_id'] == 1 and lines[0]['category_id'] == 1


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda root: (root / 'masks/refcoco/7.png').unlink(), r'entry 0: .*7\.png: no such mask'),
        (lambda root: (root / 'masks/refcoco/7.png').write_bytes(b'GIF'), r'7\.png: cannot be read as an image'),
        (
            lambda root: Image.new('RGB', (8, 6), (255, 0, 0)).save(root / 'masks/refcoco/7.png'),
            r'7\.png: has colors: save the mask in black and white',
        ),
        (lambda root: Image.new('L', (9, 6)).save(root / 'masks/refcoco/8.png'), 'is 9 x 6 here and 8 x 6 before'),
        (lambda root: (root / 'anns/refcoco/train.json').write_text('[{}]'), 'entry 0: field segment_id is missing'),
        (lambda root: (root / 'anns/refcoco').rename(root / 'anns/x'), r'<split>\.json: no such file: give the folder'),
    ],
)
def test_damaged_cris(cris, tmp_path, change, message):
    change(cris)
    with pytest.raises(DataError, match=message):
        convert_cris(cris, 'refcoco', tmp_path / 'out', tmp_path)
    assert not (tmp_path / 'out').exists()


def test_older_revision_of_the_mirrors(tmp_path):
    """Its columns have other names; texts are strings or dicts."""
    rows = parquet_rows(text=True)
    convert_parquet([write_parquet(tmp_path / 'a.parquet', rows)], tmp_path / 'new', tmp_path)
    for row in rows:
        row['anns'] = json.dumps([json.loads(row.pop('raw_anns'))])
        row['image_info'] = row.pop('raw_image_info')
        row['texts'] = row.pop('raw_sentences')
    convert_parquet([write_parquet(tmp_path / 'b.parquet', rows)], tmp_path / 'old', tmp_path)
    assert (tmp_path / 'old' / 'refs.jsonl').read_bytes() == (tmp_path / 'new' / 'refs.jsonl').read_bytes()
    for row in rows:
        sentences = json.loads(row['texts'])
        row['texts'] = [sentence['raw'] for sentence in sentences]
        row['sent_ids'] = [sentence['sent_id'] for sentence in sentences]
    convert_parquet([write_parquet(tmp_path / 'c.parquet', rows)], tmp_path / 'strings', tmp_path)
    assert (tmp_path / 'strings' / 'refs.jsonl').read_bytes() == (tmp_path / 'new' / 'refs.jsonl').read_bytes()


def test_files_that_repeat_refs(tmp_path):
    """Revision 991dfe9 of refcoco has two files of test."""
    rows = parquet_rows(text=True)
    folder = tmp_path / 'data'
    write_parquet(folder / 'test-0-a.parquet', rows)
    write_parquet(folder / 'test-0-b.parquet', rows[1:])
    conversion = convert_parquet([folder], tmp_path / 'out', tmp_path)
    assert conversion.counts == {'train': (2, 4, 1), 'val': (1, 2, 1)}
    assert 'skipped 2 refs: another of the files has them, too' in conversion.warnings
    rows[1]['ann_id'] = 10
    write_parquet(folder / 'test-0-b.parquet', rows[1:])
    with pytest.raises(DataError, match=r'test-0-b\.parquet, row 0: ref 1 is another one in .*test-0-a\.parquet'):
        convert_parquet([folder], tmp_path / 'again', tmp_path)


@pytest.mark.parametrize('text', [True, False])
def test_benchmark_mirror(text, tmp_path):
    """A row is an image."""
    told = parquet_rows(text=False)
    convert_parquet([write_parquet(tmp_path / 'a.parquet', told)], tmp_path / 'refs', tmp_path)
    rows = []
    for image_id in (1, 2):
        own = [row for row in told if row['image_id'] == image_id]
        pairs = [
            {
                'ann_info': row['raw_anns'],
                'ref_info': {name: row[name] for name in row if not name.startswith('raw_')},
            }
            for row in own
        ]
        info = own[0]['raw_image_info']
        packed = json.dumps(pairs) if text else pairs
        rows.append({'ref_list': packed, 'image_info': json.dumps(info) if text else info, 'image': {'bytes': b'x'}})
    convert_parquet([write_parquet(tmp_path / 'b.parquet', rows)], tmp_path / 'images', tmp_path)
    assert (tmp_path / 'images' / 'refs.jsonl').read_bytes() == (tmp_path / 'refs' / 'refs.jsonl').read_bytes()


def test_refcoco_m(tmp_path):
    samples = [
        {'id': 'a', 'image_id': 7, 'category': 'cup', 'label': 'x', 'sentences': ['left', 'it'], 'mask': rle(LEFT)},
        {'id': 'b', 'image_id': 7, 'category': 'man', 'label': 'y', 'sentences': ['right'], 'mask': rle(RIGHT)},
    ]
    rows = [{'image_id': 7, 'file_name': 'COCO_train2014_000000000007_3.jpg', 'samples': samples}]
    rows.append({**rows[0], 'image_id': 8, 'samples': samples[:1]})
    file = write_parquet(tmp_path / 'x.parquet', rows)
    conversion = convert_parquet([file], tmp_path / 'out', tmp_path)
    assert conversion.counts == {'val': (3, 5, 2)}
    check(tmp_path / 'out', [(['left', 'it'], [LEFT]), (['right'], [RIGHT]), (['left', 'it'], [LEFT])])
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [category['name'] for category in written['categories']] == ['cup', 'man']
    assert written['images'][0] == {
        'id': 7,
        'file_name': 'COCO_train2014_000000000007.jpg',
        'width': 8,
        'height': 6,
    }


@pytest.mark.parametrize(
    ('row', 'message'),
    [
        ({'question_id': 'a', 'question': 'b', 'answer': ['c'], 'bbox': [1]}, 'looks like lmms-lab/RefCOCO'),
        ({'a': 1, 'b': 2}, 'not a file of refs; columns there: a, b; one with ref_id'),
    ],
)
def test_other_parquet_files(row, message, tmp_path):
    with pytest.raises(DataError, match=message):
        convert_parquet([write_parquet(tmp_path / 'x.parquet', [row])], tmp_path / 'out', tmp_path)


MDETR = {'images': [{'id': 1, 'caption': 'a', 'original_id': 1}], 'annotations': [], 'categories': []}
LABELME = {'shapes': [], 'imagePath': 'a.jpg'}
GREFS = [ref(0, [10], 'a', no_target=False)]
CRIS = [{'segment_id': 1, 'img_name': NAME, 'sentences': []}]
TAKEN = [
    (MDETR, "MDETR's: use tools/dataset_converters/mdetr.py"),
    (GREFS, "gRefCOCO's: use tools/dataset_converters/grefcoco.py"),
    (CRIS, "CRIS's: use tools/dataset_converters/cris.py"),
    (seqtr_file(), "SeqTR's: use tools/dataset_converters/seqtr.py"),
    (PLAIN, 'COCO instances: use tools/dataset_converters/custom.py'),
    (LABELME, 'a file of LabelMe: use tools/dataset_converters/custom.py'),
    ({'annotations': [{'entity_id': 1, 'descriptions': []}]}, "aRefCOCO's: no converter reads it"),
    ([{'Polygons': [], 'phrase': 'a'}], "PhraseCut's: no converter reads it"),
]


@pytest.mark.parametrize(('content', 'hint'), TAKEN)
@pytest.mark.parametrize('reader', ['grefcoco', 'refer', 'mdetr', 'seqtr', 'cris'])
def test_one_layout_taken_for_another(reader, content, hint, tmp_path):
    name = {'grefcoco': 'grefcoco/grefs(unc).json', 'refer': 'x/refs(unc).json', 'cris': 'anns/x/train.json'}
    file = tmp_path / name.get(reader, 'x.json')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    (tmp_path / 'masks' / 'x').mkdir(parents=True)
    out = tmp_path / 'out'
    run = {
        'grefcoco': lambda: convert_grefcoco(tmp_path, 'unc', out),
        'refer': lambda: convert_refer(tmp_path, 'x', 'unc', out),
        'mdetr': lambda: convert_mdetr({'train': file}, out, tmp_path),
        'seqtr': lambda: convert_seqtr(file, out, tmp_path),
        'cris': lambda: convert_cris(tmp_path, 'x', out, tmp_path),
    }[reader]
    if f'/{reader}.py' in hint or (reader == 'refer' and content is GREFS):
        return  # its own layout
    with pytest.raises(DataError) as caught:
        run()
    assert hint in str(caught.value)


def test_binary_files_and_folders_taken_for_others(cris, tmp_path):
    pickled = tmp_path / 'refs(unc).p'
    pickled.write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match=r"not whole JSON .*looks like REFER's: use tools/dataset_converters/refer.py"):
        convert_seqtr(pickled, tmp_path / 'out', tmp_path)
    pytest.importorskip('pyarrow')
    with pytest.raises(DataError, match=r"not a whole parquet file .*looks like REFER's"):
        convert_parquet([pickled], tmp_path / 'out', tmp_path)
    with pytest.raises(DataError, match=r"nor any \*/refs\(\*\)\.p in .*: it looks like CRIS's: use .*/cris\.py"):
        convert_refer(cris, 'refcoco', 'unc', tmp_path / 'out')
    write_parquet(tmp_path / 'mirror' / 'x.parquet', parquet_rows(text=True))
    with pytest.raises(DataError, match=r'it looks like parquet files of refs: use .*/parquet\.py'):
        convert_grefcoco(tmp_path / 'mirror', 'unc', tmp_path / 'out')
