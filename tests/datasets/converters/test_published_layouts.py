"""What the files of published sets hold, and earlier readers got wrong: each layout gives the right refs and masks."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.converters.grefcoco import convert_grefcoco
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.transforms import LoadReferringMask
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError

WIDTH, HEIGHT = 8, 6
LEFT, RIGHT = (slice(1, 4), slice(0, 3)), (slice(2, 5), slice(4, 7))


def drawn(*parts):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for rows, columns in parts:
        mask[rows, columns] = 1
    return mask


def rle(*parts):
    """As COCO's text."""
    packed = coco_mask.encode(np.asfortranarray(drawn(*parts)))
    return {'size': [HEIGHT, WIDTH], 'counts': packed['counts'].decode()}


def ref(ref_id, ann_id, *said, **other):
    sentences = [
        {'raw': text.upper(), 'sent': text, 'sent_id': 10 * ref_id + k, 'tokens': [text]} for k, text in enumerate(said)
    ]
    fields = {'ref_id': ref_id, 'ann_id': ann_id, 'image_id': 1, 'category_id': 2, 'split': 'train'}
    return {**fields, 'sentences': sentences, **other}


def instances(left, right, **fields):
    """Two objects on an image."""
    return {
        'images': [{'id': 1, 'file_name': '1.jpg', 'width': WIDTH, 'height': HEIGHT}],
        'annotations': [
            {'id': 10 + number, 'image_id': 1, 'category_id': 2, 'segmentation': outline, **fields}
            for number, outline in enumerate((left, right))
        ],
        'categories': [{'id': 2, 'name': 'thing'}],
    }


PLAIN = instances(rle(LEFT), rle(RIGHT))


def write(root, dataset, name, refs, content):
    folder = root / dataset
    folder.mkdir(parents=True)
    whole = pickle.dumps(refs, 2) if name.endswith('.p') else json.dumps(refs).encode()
    (folder / name).write_bytes(whole)
    (folder / 'instances.json').write_text(json.dumps(content))
    return root


def read(out):
    """Expressions of each ref and its mask, through the dataset; and the lines of refs.jsonl."""
    lines = [json.loads(line) for line in (out / 'refs.jsonl').read_text().splitlines()]
    found = []
    for split in dict.fromkeys(line['split'] for line in lines):
        dataset = RefCOCODataset(str(out), split)
        for item in (dataset.get_data_info(number) for number in range(len(dataset))):
            results = LoadReferringMask(allow_empty=True)({**item, 'ori_shape': (HEIGHT, WIDTH)})
            found.append((item['sentences'], results['gt_seg_map']))
    return lines, found


def check(out, expected):
    _, found = read(out)
    assert [said for said, _ in found] == [said for said, _ in expected]
    for (said, mask), (_, parts) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mask, drawn(*parts), str(said))


def test_refs_without_sentences(tmp_path):
    """The published gRefCOCO has some; its authors say to skip them."""
    refs = [ref(0, [10], 'one', split='val'), ref(1, [11], split='val'), ref(2, [-1], 'none', no_target=True)]
    refs[2]['category_id'] = [-1]
    root = write(tmp_path, 'grefcoco', 'grefs(unc).json', refs, PLAIN)
    conversion = convert_grefcoco(root, 'unc', tmp_path / 'out')
    assert conversion.counts == {'val': (1, 1, 1), 'train': (1, 1, 1)}
    assert 'skipped 1 refs: no sentences' in conversion.warnings
    assert conversion.lines()[-1] == 'sentences that mean nothing: 1, one object: 1, several: 0'
    check(tmp_path / 'out', [(['ONE'], [LEFT]), (['NONE'], [])])


def test_grefcoco_crowds(tmp_path):
    """ReLA leaves crowds out of a ref's mask."""
    content = instances(rle(LEFT), rle(RIGHT))
    content['annotations'][1]['iscrowd'] = 1
    refs = [ref(0, [10, 11], 'both'), ref(1, [11], 'the crowd')]
    conversion = convert_grefcoco(
        write(tmp_path, 'grefcoco', 'grefs(unc).json', refs, content), 'unc', tmp_path / 'out'
    )
    check(tmp_path / 'out', [(['BOTH'], [LEFT]), (['THE CROWD'], [RIGHT])])
    assert '1 refs are without their annotations that are crowds' in conversion.warnings


def test_sentences_that_do_not_exist(tmp_path):
    """R-RefCOCO: what is marked so means nothing in the image."""
    refs = [ref(3, 10, 'left', 'no such', 'it'), ref(7, 11, 'nowhere'), ref(8, 11, 'right')]
    for number, exists in enumerate((True, False, True)):
        refs[0]['sentences'][number]['exist'] = exists
    refs[1]['sentences'][0]['exist'] = False
    refs[2]['sentences'][0]['exist'] = True
    conversion = convert_refer(
        write(tmp_path, 'rrefcoco', 'refs(unc).p', refs, PLAIN), 'rrefcoco', 'unc', tmp_path / 'out'
    )
    lines, _ = read(tmp_path / 'out')
    assert [(line['ref_id'], line['ann_ids']) for line in lines] == [(3, [10]), (9, []), (7, []), (8, [11])]
    check(tmp_path / 'out', [(['LEFT', 'IT'], [LEFT]), (['NO SUCH'], []), (['NOWHERE'], []), (['RIGHT'], [RIGHT])])
    assert conversion.targets == (2, 3, 0)
    assert '2 sentences with exist=false are those of refs that mean nothing' in conversion.warnings


@pytest.mark.parametrize('left', [[rle(LEFT)], [{**rle(), 'counts': [1, 3, 3, 3, 3, 3, 32]}]])
def test_lists_of_one_rle(left, tmp_path):
    """RRSIS-D; its annotations name their category otherwise."""
    content = instances(left, [rle(RIGHT)])
    for annotation in content['annotations']:
        annotation['categories_id'] = annotation.pop('category_id')
    root = write(tmp_path, 'rrsisd', 'refs(unc).p', [ref(0, 10, 'left'), ref(1, 11, 'right')], content)
    (root / 'images' / 'rrsisd' / 'JPEGImages').mkdir(parents=True)
    convert_refer(root, 'rrsisd', 'unc', tmp_path / 'out')
    check(tmp_path / 'out', [(['LEFT'], [LEFT]), (['RIGHT'], [RIGHT])])
    assert (tmp_path / 'out' / 'images').resolve() == root / 'images' / 'rrsisd' / 'JPEGImages'
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert [annotation['category_id'] for annotation in written['annotations']] == [2, 2]
    assert written['annotations'][1]['segmentation'] == rle(RIGHT)  # as COCO's own tools read it
    assert not verify_prepared(tmp_path / 'out', images=False).of('error')


def test_ids_of_text_and_several_rles(tmp_path):
    """refclef."""
    content = instances([rle(LEFT), rle(RIGHT)], [rle(RIGHT)])
    content['images'][0]['id'] = '1'
    for name, annotation in zip(('1_2', '17'), content['annotations'], strict=True):
        annotation.update(id=name, image_id='1', category_id='2')
    refs = [ref(0, '1_2', 'both'), ref(1, '17', 'right')]
    for record in refs:
        record.update(ref_id=f'{record["ref_id"]}', image_id='1', category_id='2')
        record['sentences'][0]['sent_id'] = f's{record["ref_id"]}'
    convert_refer(write(tmp_path, 'refclef', 'refs(unc).p', refs, content), 'refclef', 'unc', tmp_path / 'out')
    lines, _ = read(tmp_path / 'out')
    assert [(line['ref_id'], line['ann_ids'], line['sentences'][0]['sent_id']) for line in lines] == [
        (0, [18], 0),
        (1, [17], 1),
    ]
    check(tmp_path / 'out', [(['BOTH'], [LEFT, RIGHT]), (['RIGHT'], [RIGHT])])
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert written['annotations'][0]['original_id'] == '1_2'
    assert not verify_prepared(tmp_path / 'out', images=False).of('error')


def test_ref_zom(tmp_path):
    """Lists of annotations, one annotation, and none by ``source``; a file name of its own."""
    refs = [ref(0, [10, 11], 'both', source='many'), ref(1, 11, 'right'), ref(2, [11], 'none', source='zero')]
    refs[0]['category_id'] = [2, 2]
    root = write(tmp_path, 'Ref-ZOM', 'Ref-ZOM(final).p', refs, PLAIN)
    conversion = convert_refer(root, 'Ref-ZOM', 'final', tmp_path / 'out')
    check(tmp_path / 'out', [(['BOTH'], [LEFT, RIGHT]), (['RIGHT'], [RIGHT]), (['NONE'], [])])
    assert conversion.targets == (1, 1, 1)
    lines, _ = read(tmp_path / 'out')
    assert [line.get('category_id') for line in lines] == [2, 2, None]


def test_json_instead_of_a_pickle(tmp_path):
    """What the message on numpy's numbers advises."""
    convert_refer(write(tmp_path, 'mine', 'refs(me).json', [ref(0, 10, 'left')], PLAIN), 'mine', 'me', tmp_path / 'out')
    check(tmp_path / 'out', [(['LEFT'], [LEFT])])


def test_few_damaged_refs_are_left_out_and_many_are_not_one_set(tmp_path):
    refs = [ref(number, 10, 'left') for number in range(100)] + [ref(100, 99, 'gone')]
    content = instances(rle(LEFT), [])
    root = write(tmp_path, 'refcoco', 'refs(unc).p', [*refs, ref(101, 11, 'no pixels')], content)
    conversion = convert_refer(root, 'refcoco', 'unc', tmp_path / 'out')
    assert conversion.counts == {'train': (100, 100, 1)}
    assert conversion.warnings[:2] == [
        'skipped 1 refs: a mask without pixels',
        'skipped 1 refs: their annotation is not in the instances',
    ]
    root = write(tmp_path / 'b', 'refcoco', 'refs(unc).p', [*refs, ref(101, 98, 'gone, too')], content)
    with pytest.raises(DataError, match=r'ref 100: field ann_id: .* has no annotation 99 on image 1: use files of one'):
        convert_refer(root, 'refcoco', 'unc', tmp_path / 'again')


def test_raw_and_cleaned_text(tmp_path):
    refs = [ref(0, 10, 'left'), ref(1, 11, 'right')]
    del refs[1]['sentences'][0]['raw']
    conversion = convert_refer(
        write(tmp_path, 'refcoco', 'refs(unc).p', refs, PLAIN), 'refcoco', 'unc', tmp_path / 'out'
    )
    lines, _ = read(tmp_path / 'out')
    assert [line['sentences'] for line in lines] == [
        [{'sent_id': 0, 'raw': 'LEFT', 'sent': 'left'}],
        [{'sent_id': 10, 'raw': 'right', 'sent': 'right'}],
    ]
    assert '1 sentences have no raw text: their cleaned one (sent) stands in' in conversion.warnings[0]


@pytest.mark.parametrize(
    ('there', 'name', 'told'),
    [
        ('1.jpg', '1.jpg', None),
        ('COCO_train2014_000000000007.jpg', 'COCO_train2014_000000000007.jpg', None),
        ('train2014/COCO_train2014_000000000007.jpg', 'train2014/COCO_train2014_000000000007.jpg', 'have another name'),
        ('000000000007.jpg', '000000000007.jpg', '1 of 1 images have another name there, as 000000000007.jpg'),
    ],
)
def test_names_of_coco_images(there, name, told, tmp_path):
    """Ref-ZOM's lie in two folders, and train2017 holds those of 2014 under other names."""
    content = instances(rle(LEFT), rle(RIGHT))
    content['images'][0]['file_name'] = name if name == '1.jpg' else 'COCO_train2014_000000000007.jpg'
    root = write(tmp_path, 'refcoco', 'refs(unc).p', [ref(0, 10, 'left')], content)
    images = tmp_path / 'photographs'
    (images / there).parent.mkdir(parents=True)
    (images / there).touch()
    conversion = convert_refer(root, 'refcoco', 'unc', tmp_path / 'out', images)
    written = json.loads((tmp_path / 'out' / 'instances.json').read_text())
    assert written['images'][0]['file_name'] == name
    assert (told is None and not conversion.warnings) or told in conversion.warnings[0]


def test_without_symbolic_links(tmp_path, monkeypatch):
    """Windows, exFAT: the set is written, and the message says where the images belong."""

    def refuse(*args, **kwargs):
        raise OSError(1, 'Operation not permitted')

    monkeypatch.setattr('os.symlink', refuse)
    root = write(tmp_path, 'refcoco', 'refs(unc).p', [ref(0, 10, 'left')], PLAIN)
    images = tmp_path / 'photographs'
    images.mkdir()
    (images / '1.jpg').touch()
    out = tmp_path / 'out'
    conversion = convert_refer(root, 'refcoco', 'unc', out, images)
    assert sorted(path.name for path in out.iterdir()) == ['instances.json', 'refs.jsonl']
    (warning,) = conversion.warnings
    assert f'copy or move the images to {out / "images"}' in warning
    prefix = f'data_prefix=dict(img_path={str(images)!r})'
    assert prefix in warning
    dataset = RefCOCODataset(str(out), 'train', data_prefix=dict(img_path=str(images)))
    assert dataset.get_data_info(0)['img_path'] == str(images / '1.jpg')
