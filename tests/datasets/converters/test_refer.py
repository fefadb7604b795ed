"""REFER's files: what they hold, and what is wrong with them."""

import json
import pickle

import pytest

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.utils.errors import DataError


def refer_set():
    """A set in REFER's layout, in memory: refs and instances."""
    polygon = [[1, 1, 5, 1, 5, 5, 1, 5]]
    refs = [
        {
            'ref_id': number,
            'ann_id': 10 + number,
            'category_id': 1,
            'image_id': image_id,
            'file_name': f'COCO_train2014_{image_id}_{10 + number}.jpg',
            'split': split,
            'sent_ids': [2 * number, 2 * number + 1],
            'sentences': [
                {'raw': f'Thing {number}', 'sent': f'thing {number}', 'sent_id': 2 * number, 'tokens': ['thing']},
                {'raw': f'no. {number}', 'sent': f'no {number}', 'sent_id': 2 * number + 1, 'tokens': ['no']},
            ],
        }
        for number, (image_id, split) in enumerate([(1, 'train'), (1, 'train'), (2, 'train'), (3, 'val')])
    ]
    images = [{'id': k, 'file_name': f'{k}.jpg', 'width': 8, 'height': 6, 'license': 1} for k in (1, 2, 3, 4)]
    annotations = [
        {'id': ann_id, 'image_id': image_id, 'category_id': 1, 'segmentation': polygon, 'iscrowd': 0}
        for ann_id, image_id in [(10, 1), (11, 1), (12, 2), (13, 3), (14, 3), (15, 4)]
    ]
    return refs, {'images': images, 'annotations': annotations, 'categories': [{'id': 1, 'name': 'thing'}], 'info': {}}


def write_refer(root, refs, instances):
    (root / 'refcoco').mkdir(parents=True)
    (root / 'refcoco' / 'refs(unc).p').write_bytes(pickle.dumps(refs, 2))
    (root / 'refcoco' / 'instances.json').write_text(json.dumps(instances))
    return root


def read(folder):
    lines = (folder / 'refs.jsonl').read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines], json.loads((folder / 'instances.json').read_text())


def test_conversion(tmp_path):
    root = write_refer(tmp_path / 'refer', *refer_set())
    images = tmp_path / 'photographs'
    images.mkdir()
    (images / '1.jpg').touch()
    out = tmp_path / 'data' / 'refcoco_unc'
    conversion = convert_refer(root, 'refcoco', 'unc', out, images)
    assert conversion.counts == {'train': (3, 6, 2), 'val': (1, 2, 1)}
    assert conversion.warnings == [f'{images}: 2 of 3 images are not there, the first is 2.jpg']
    refs, instances = read(out)
    assert refs[0] == {
        'ref_id': 0,
        'image_id': 1,
        'ann_ids': [10],
        'category_id': 1,
        'split': 'train',
        'sentences': [
            {'sent_id': 0, 'raw': 'Thing 0', 'sent': 'thing 0'},
            {'sent_id': 1, 'raw': 'no. 0', 'sent': 'no 0'},
        ],
    }
    assert [image['id'] for image in instances['images']] == [1, 2, 3]
    # 14 is nobody's target but on an image of a ref; 15 is on an image that no ref names
    assert [annotation['id'] for annotation in instances['annotations']] == [10, 11, 12, 13, 14]
    assert (out / 'images').is_symlink() and (out / 'images' / '1.jpg').is_file()
    assert [path.name for path in out.parent.iterdir()] == ['refcoco_unc']
    dataset = RefCOCODataset(data_root=out, split='train')
    assert [item['img_path'] for item in dataset] == [str(out / 'images' / f'{k}.jpg') for k in (1, 1, 2)]
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    convert_refer(root, 'refcoco', 'unc', tmp_path / 'again', images)
    assert {path.name: path.read_bytes() for path in (tmp_path / 'again').iterdir() if path.is_file()} == before


def test_images_where_refer_has_them_or_not_yet(tmp_path):
    root = write_refer(tmp_path / 'refer', *refer_set())
    conversion = convert_refer(root, 'refcoco', 'unc', tmp_path / 'without')
    assert 'no such folder, so no images are linked' in conversion.warnings[0]
    assert not (tmp_path / 'without' / 'images').is_symlink()
    folder = root / 'images' / 'mscoco' / 'images' / 'train2014'
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f'{number}.jpg').touch()
    conversion = convert_refer(root, 'refcoco', 'unc', tmp_path / 'with')
    assert not conversion.warnings
    assert (tmp_path / 'with' / 'images').resolve() == folder.resolve()


def test_overwriting(tmp_path):
    root = write_refer(tmp_path / 'refer', *refer_set())
    out = tmp_path / 'out'
    convert_refer(root, 'refcoco', 'unc', out)
    with pytest.raises(FileExistsError, match='--overwrite'):
        convert_refer(root, 'refcoco', 'unc', out)
    (out / 'refs.jsonl').write_text('old')
    (out / 'index').mkdir()  # of a dataset that read the folder
    convert_refer(root, 'refcoco', 'unc', out, overwrite=True)
    assert len(read(out)[0]) == 4
    (out / 'images').mkdir()  # a user's own photographs, not a link
    (out / 'images' / '1.jpg').touch()
    with pytest.raises(FileExistsError, match='not a link'):
        convert_refer(root, 'refcoco', 'unc', out, overwrite=True)
    assert (out / 'images' / '1.jpg').exists()
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'thesis.tex').touch()
    with pytest.raises(FileExistsError, match=r'thesis\.tex'):
        convert_refer(root, 'refcoco', 'unc', tmp_path / 'other', overwrite=True)


def test_blank_sentences_are_left_out(tmp_path):
    refs, instances = refer_set()
    refs[1]['sentences'][0]['raw'] = '  '
    conversion = convert_refer(write_refer(tmp_path / 'refer', refs, instances), 'refcoco', 'unc', tmp_path / 'out')
    assert conversion.counts['train'] == (3, 5, 2)
    assert '1 sentences without a word are left out' in conversion.warnings[0]


def ref_field(number, name, value):
    return lambda refs, instances: refs[number].update({name: value})


def drop(number, name):
    return lambda refs, instances: refs[number].pop(name)


def drop_entry(part, number, name=None):
    return lambda refs, instances: instances[part].pop(number) if name is None else instances[part][number].pop(name)


DAMAGE = {
    'no sentences at all': (
        lambda refs, instances: [ref.update(sentences=[]) for ref in refs],
        r'refs\(unc\)\.p: holds no ref that can be used; skipped 4 refs: no sentences',
    ),
    'sentence of text': (ref_field(1, 'sentences', ['red']), "ref 1: a sentence is 'red'"),
    'no raw': (
        ref_field(1, 'sentences', [{'said': 'a', 'sent_id': 1}]),
        'ref 1: field raw is missing; .* said, sent_id',
    ),
    'sent of a number': (ref_field(1, 'sentences', [{'raw': 'a', 'sent': 1, 'sent_id': 1}]), 'ref 1: field sent is 1'),
    'no sent_id': (ref_field(1, 'sentences', [{'raw': 'a'}]), 'ref 1: field sent_id is missing'),
    'no ann_id': (drop(2, 'ann_id'), 'ref 2: field ann_id is missing; fields there: ref_id, category_id'),
    'no ref_id': (drop(2, 'ref_id'), 'ref number 2: field ref_id is missing'),
    'no split': (drop(0, 'split'), 'ref 0: field split is missing'),
    'list of what is no id': (ref_field(2, 'ann_id', [None]), r'ref 2: field ann_id is \[None\]; expected ids'),
    'an unknown flag': (ref_field(2, 'negated', True), "ref 2: field 'negated' is True, a flag that this converter"),
    'exist of some sentences': (
        lambda refs, instances: refs[1]['sentences'][0].update(exist=False),
        'ref 1: field exist is in some sentences only',
    ),
    'no sentence beside one that does not exist': (
        ref_field(1, 'sentences', [{'raw': 'a', 'sent_id': 9, 'exist': False}, 'text']),
        "ref 1: a sentence is 'text'; expected a dict",
    ),
    'no target and a target': (ref_field(2, 'no_target', True), 'ref 2: field no_target is True, field ann_id is 12'),
    'RLE of another size': (
        lambda refs, instances: instances['annotations'][0].update(segmentation={'size': [8, 6], 'counts': [48]}),
        r'annotation 10: field segmentation is damaged \(ValueError: RLE of size \[8, 6\], not \[6, 8\]\)',
    ),
    'a size of nothing': (lambda refs, instances: instances['images'][0].update(width=0), 'image 1: field width is 0'),
    'unknown annotation': (ref_field(0, 'ann_id', 99), 'ref 0: field ann_id: .*instances.json has no annotation 99'),
    'annotation of another image': (ref_field(0, 'ann_id', 12), 'has no annotation 12 on image 1'),
    'unknown image': (ref_field(0, 'image_id', 99), 'ref 0: field image_id: .*instances.json has no image 99'),
    'image is gone': (drop_entry('images', 1), 'ref 2: field image_id: .*has no image 2'),
    'no file_name': (drop_entry('images', 0, 'file_name'), 'instances.json, image 1: field file_name is missing'),
    'no width': (drop_entry('images', 0, 'width'), 'instances.json, image 1: field width is missing'),
    'no id': (drop_entry('images', 0, 'id'), r'instances.json, images\[0\]: field id is not a number'),
    'no image_id': (
        drop_entry('annotations', 0, 'image_id'),
        r'annotations\[0\]: field id or image_id is not a number',
    ),
    'no segmentation': (drop_entry('annotations', 1, 'segmentation'), 'annotation 11: field segmentation is missing'),
    'no annotations': (lambda refs, instances: instances.pop('annotations'), 'field annotations is missing'),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_damaged_sets_leave_nothing(name, tmp_path):
    refs, instances = refer_set()
    damage, message = DAMAGE[name]
    damage(refs, instances)
    root = write_refer(tmp_path / 'refer', refs, instances)
    with pytest.raises(DataError, match=message):
        convert_refer(root, 'refcoco', 'unc', tmp_path / 'data' / 'out')
    assert not (tmp_path / 'data').exists()


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    root = write_refer(tmp_path / 'refer', *refer_set())
    out = tmp_path / 'out'
    convert_refer(root, 'refcoco', 'unc', out)
    before = read(out)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('pathlib.Path.symlink_to', stop)
    with pytest.raises(KeyboardInterrupt):
        convert_refer(root, 'refcoco', 'unc', out, images=tmp_path, overwrite=True)
    assert read(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'refer']


@pytest.mark.parametrize(('name', 'refs', 'sentences'), [('template', 352, 979), ('human', 10, 16)])
def test_real_files(name, refs, sentences, shared, tmp_path):
    conversion = convert_refer(shared, name, name, tmp_path / name)
    assert not conversion.warnings
    assert sum(counts[0] for counts in conversion.counts.values()) == refs
    assert sum(counts[1] for counts in conversion.counts.values()) == sentences
    total = 0
    for split, (number, said, _) in conversion.counts.items():
        assert len(RefCOCODataset(data_root=tmp_path / name, split=split)) == number
        scored = RefCOCODataset(data_root=tmp_path / name, split=split, test_mode=True)
        assert len(scored) == said
        total += said
    assert total == sentences
