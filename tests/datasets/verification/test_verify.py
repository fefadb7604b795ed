"""What is found in a prepared folder, one kind of damage at a time."""

import json

import pytest
from PIL import Image

from mmmagnet.datasets.verification.published import PUBLISHED, Counts
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError

TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


def change(part, number, **fields):
    """A damage: fields of one entry of a part of the set get other values."""

    def damage(content, root):
        content[part][number].update(fields)

    return damage


def repeat(part, number, **fields):
    def damage(content, root):
        content[part].append({**content[part][number], **fields})

    return damage


def say(*texts):
    return change('refs', 0, sentences=[{'sent_id': number, 'raw': text} for number, text in enumerate(texts)])


def image_file(action):
    def damage(content, root):
        action(root / 'images' / '1.png')

    return damage


FAR = [[30, 2, 36, 2, 36, 7, 30, 7]]
OUT = [[10, 2, 26, 2, 26, 7, 10, 7]]
LINE = '{"split": "%d", "image_id": 1, "ref_id": 1, "ann_ids": [], "sentences": [{"raw": "a", "sent_id": 1}]}\n'
RLE = {'size': [16, 20], 'counts': [300, 20]}
DAMAGE = {
    'size': (change('images', 0, width=0), 'error', 'images without a usable width and height', 'image 1: 0 x 16'),
    'text': (change('images', 0, width='20'), 'error', 'images without a usable width', "image 1: '20' x 16"),
    'ref_id': (change('refs', 1, ref_id=0), 'error', 'ref_ids that occur more than once', '0'),
    'sent_id': (
        change('refs', 1, sentences=[{'sent_id': 0, 'raw': 'a'}]),
        'error',
        'sent_ids that occur more than once',
        '0',
    ),
    'ann id': (repeat('annotations', 0), 'error', 'annotation ids that occur more than once', '10'),
    'image id': (repeat('images', 2), 'error', 'image ids that occur more than once', '3'),
    'category': (change('annotations', 0, category_id=[]), 'error', 'category_ids that are not', 'annotation 10: []'),
    'no image': (change('refs', 2, image_id=9), 'error', 'refs on an image that instances.json', 'ref 2: image 9'),
    'no annotation': (
        change('refs', 2, ann_ids=[12, 99]),
        'error',
        'refs to an annotation that instances.json does not have',
        'ref 2: annotation 99',
    ),
    'another image': (
        change('refs', 1, ann_ids=[12]),
        'error',
        'refs to an annotation of another image',
        'ref 1: annotation 12 is on image 2, not 1',
    ),
    'odd polygon': (
        change('annotations', 0, segmentation=[[1, 2, 3]]),
        'error',
        'outlines of refs that are neither',
        'annotation 10 on image 1: ValueError: polygon: not pairs of numbers',
    ),
    'damaged outline of nobody': (
        change('annotations', 5, segmentation=None),
        'warning',
        'outlines of other objects that are neither',
        'annotation 15 on image 3',
    ),
    'RLE of another size': (
        change('annotations', 0, segmentation={**RLE, 'size': [20, 16]}),
        'error',
        'outlines of refs that are neither',
        'annotation 10 on image 1: ValueError: RLE of size [20, 16], not [16, 20]',
    ),
    'RLE too short': (
        change('annotations', 0, segmentation={**RLE, 'counts': [300, 19]}),
        'error',
        'outlines of refs that are neither',
        'are not runs of 16 * 20 pixels',
    ),
    'a damaged RLE of two': (
        change('annotations', 0, segmentation=[RLE, {**RLE, 'counts': [300]}]),
        'error',
        'outlines of refs that are neither',
        'are not runs of 16 * 20 pixels',
    ),
    'empty RLEs': (
        change('annotations', 0, segmentation=[{**RLE, 'counts': [320]}] * 2),
        'error',
        'masks of refs without pixels',
        'annotation 10 on image 1',
    ),
    'empty RLE': (
        change('annotations', 0, segmentation={**RLE, 'counts': [320]}),
        'error',
        'masks of refs without pixels',
        'annotation 10 on image 1',
    ),
    'no polygon': (change('annotations', 0, segmentation=[]), 'error', 'masks of refs without', 'annotation 10'),
    'two points': (change('annotations', 0, segmentation=[[1, 1, 5, 5]]), 'error', 'masks of refs without', '10'),
    'far out': (change('annotations', 0, segmentation=FAR), 'error', 'masks of refs without', 'annotation 10'),
    'nobody far out': (change('annotations', 5, segmentation=FAR), 'warning', 'other objects without', 'annotation 15'),
    'leaves': (change('annotations', 0, segmentation=OUT), 'warning', 'polygons of refs that leave', 'annotation 10'),
    'blank': (say('a', ' '), 'error', 'expressions that are empty', "ref 0, sentence 1: ' '"),
    'no letter': (say('a', '?!'), 'warning', 'expressions without a letter or digit', "ref 0, sentence 1: '?!'"),
    'long': (say('the red circle ' * 7), 'warning', 'expressions cut at 20 tokens', ': 23 tokens'),
    'no target': (change('refs', 0, ann_ids=[]), 'note', 'refs that mean nothing', 'ref 0'),
    'no file': (image_file(lambda path: path.unlink()), 'error', 'image files that are not there', '1.png'),
    'no image in the file': (
        image_file(lambda path: path.write_bytes(b'GIF')),
        'error',
        'image files that cannot be read',
        '1.png: cannot identify image file',
    ),
    'another size': (
        image_file(lambda path: Image.new('RGB', (8, 9)).save(path)),
        'error',
        'image files of another size than stated',
        '1.png: 8 x 9, instances.json says 20 x 16',
    ),
    'shared': (change('refs', 6, image_id=1, ann_ids=[10]), 'error', 'images that train shares with val', 'image 1'),
    'shared, no train': (
        lambda content, root: [ref.update(split='testA') for ref in content['refs'][3:6]],
        'warning',
        'images that testA shares with val',
        'image 3',
    ),
    'escape': (change('images', 0, file_name='\x1b[2J.png'), 'error', 'not there', '\\x1b[2J.png'),
}


@pytest.fixture
def clean(content):
    """The small set without the image that its splits share."""
    content['refs'][6].update(image_id=3, ann_ids=[14])
    return content


@pytest.fixture
def look(clean, write, tmp_path):
    """Write the set, damaged, and look through it."""

    def write_and_look(damage=lambda content, root: None, **arguments):
        root = write(clean, tmp_path / 'set')
        damage(clean, root)
        (root / 'refs.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in clean['refs']))
        (root / 'instances.json').write_text(json.dumps({key: clean[key] for key in clean if key != 'refs'}))
        return verify_prepared(root, **{'tokenizer': TOKENIZER, **arguments})

    return write_and_look


def test_nothing_to_find(look):
    report = look()
    assert report.findings == []
    assert report.counts == {'train': (3, 6, 2), 'val': (4, 5, 1)}
    assert report.not_checked == ['published counts: none are known for this folder (give --dataset and --split-by)']
    assert report.lines()[1].split() == ['train', '3', '6', '2']


@pytest.mark.parametrize('name', DAMAGE)
def test_findings(name, look):
    damage, severity, text, example = DAMAGE[name]
    report = look(damage)
    found = [finding for finding in report.findings if text in finding.text]
    assert len(found) == 1, report.lines()
    assert (found[0].severity, found[0].count) == (severity, 1)
    assert example in found[0].examples[0]
    assert f'{severity}: {found[0].text}: 1' in report.lines()
    assert report.as_dict()['findings'][report.findings.index(found[0])]['examples'] == found[0].examples


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('refs.jsonl', None, 'no prepared set there'),
        ('refs.jsonl', '', 'holds no refs'),
        ('refs.jsonl', '{"split": "val", "image_id": 1}\n', "line 1: field 'ref_id' is missing"),
        ('refs.jsonl', ''.join(LINE % number for number in range(101)), 'has 101 splits'),
        ('refs.jsonl', '[' * 100_000, 'line 1: not a ref'),
        ('instances.json', None, 'cannot be read'),
        ('instances.json', '{"images": [', 'not COCO instances'),
        ('instances.json', '{"images": []}', "field 'annotations' is missing"),
        ('instances.json', '[]', 'not COCO instances'),
        ('instances.json', '{"images": [], "annotations": [], "images": []}', 'has the field images twice'),
        (
            'instances.json',
            '{"images": [{"id": "1", "file_name": "a"}], "annotations": []}',
            r'images\[0\]: field id or',
        ),
        ('instances.json', '[' * 100_000, 'not COCO instances'),
    ],
)
def test_what_cannot_be_read(name, content, message, prepared):
    (prepared / name).unlink()
    if content is not None:
        (prepared / name).write_text(content)
    with pytest.raises(DataError, match=rf'{name}.*{message}'):
        verify_prepared(prepared)


def test_published_counts(clean, write, tmp_path):
    for folder, arguments in (('refcocog_google', {}), ('other', {'dataset': 'refcocog', 'split_by': 'google'})):
        report = verify_prepared(write(clean, tmp_path / folder), tokenizer=TOKENIZER, **arguments)
        (finding,) = report.findings
        assert finding.severity == 'error' and finding.count == 5
        assert finding.examples == [
            'train: 3 refs, published are 44822',
            'train: 2 images, published are 24698',
            'val: 4 refs, published are 5000',
            'val: 1 images, published are 4650',
            'all splits: 11 sentences, published are 104560',
        ]
    report = verify_prepared(tmp_path / 'other', 'refcocog', 'umd', tokenizer=TOKENIZER)
    assert report.findings[0].count == 9


def test_kinds_of_expressions(look, monkeypatch):
    """gRefCOCO's are counted by what they mean."""

    def change_some(content, root):
        content['refs'][0]['ann_ids'] = []
        content['refs'][3]['ann_ids'] = [13, 14]

    monkeypatch.setitem(PUBLISHED, ('mine', 'me'), {'train': Counts(3, 6, 2, 3, 3, 0), 'val': Counts(nothing=1, one=2)})
    report = look(change_some, dataset='mine', split_by='me')
    assert report.targets == {'train': (3, 3, 0), 'val': (0, 2, 3)}
    assert report.lines()[3].split() == ['sentences', 'nothing', 'one', 'object', 'several']
    assert report.as_dict()['targets']['val'] == {'nothing': 0, 'one': 2, 'several': 3}
    (finding,) = report.of('error')
    assert finding.examples == ['val: 0 sentences that mean nothing, published are 1']


def test_share_of_cut_expressions(look):
    report = look(say('a', 'b', 'c', 'the red circle ' * 7))
    assert report.cut == {'train': (1, 7), 'val': (0, 5)}
    assert 'share of expressions that is cut: train 14.29%, val 0.00%' in report.lines()
    assert report.as_dict()['cut']['train'] == {'cut': 1, 'sentences': 7}


def test_google_shares_images_as_published(prepared):
    report = verify_prepared(prepared, 'refcoco', 'google', tokenizer=TOKENIZER)
    assert report.of('note')[0].text.startswith('images that train shares with val, as published')
    report = verify_prepared(prepared, 'refcocog', 'google', tokenizer=TOKENIZER)
    (finding,) = report.of('note')
    assert finding.text == 'images that train shares with val, as published: this partition is by object'
    report = verify_prepared(prepared, 'refcocog', 'umd', tokenizer=TOKENIZER)
    assert 'images that train shares with val' in [finding.text for finding in report.of('error')]


def test_what_is_not_checked(look, prepared):
    report = look(lambda content, root: (root / 'images' / '1.png').unlink(), images=False)
    assert not report.findings and 'image files: --no-images' in report.not_checked
    report = verify_prepared(prepared, tokenizer=None)
    cut = [reason for reason in report.not_checked if 'cut expressions' in reason]
    assert not cut or cut == ['cut expressions: bert-base-uncased is not here; give --tokenizer']
    with pytest.raises(DataError, match='tokenizer='):
        verify_prepared(prepared, tokenizer=str(prepared))


def test_a_missing_folder_of_images_is_one_error(look):
    report = look(lambda content, root: (root / 'images').rename(root / 'photographs'))
    (finding,) = report.findings
    assert finding.count == 1 and finding.text.startswith('folders of images that are not there')
