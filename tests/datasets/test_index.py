"""Items by the index: the same as a plain reader's, made once, made anew for another file, shared by processes."""

import json
import multiprocessing
import os
import pickle
import random
from collections import Counter
from pathlib import Path

import pytest

from mmmagnet.datasets import RefCOCODataset
from mmmagnet.datasets.instances_io import Instances
from mmmagnet.datasets.refs_io import Refs
from mmmagnet.utils.errors import DataError


def random_set(seed):
    """Refs of several objects, one or none, on images and objects in any order; crowds, ids beyond 32 bits, an RLE."""
    rng = random.Random(seed)
    images = [
        {
            'id': rng.choice([number, 10**12 + number]),
            'file_name': f'é{number}.png',
            'width': 9,
            'height': rng.choice([8, 8.0]),
        }
        for number in range(12)
    ]
    annotations = [
        {
            'id': 900_100_000_000 + number if number % 5 == 0 else number,
            'image_id': rng.choice(images)['id'],
            'segmentation': {'size': [8, 9], 'counts': [72]} if number % 7 == 0 else [[0, 0, number, 0.5, 1e2, 3]],
            **({'category_id': rng.randrange(3)} if rng.random() < 0.8 else {}),
            **({'iscrowd': rng.choice([0, 1, 0.0])} if rng.random() < 0.5 else {}),
        }
        for number in range(40)
    ]
    refs = []
    for number in range(60):
        image = rng.choice(images)['id']
        own = [ann['id'] for ann in annotations if ann['image_id'] == image]
        said = [
            {'sent_id': 4 * number + k, 'raw': f'ü {number} {k}', 'sent': f'u{k}'} for k in range(rng.randint(1, 4))
        ]
        for sentence in said[:: rng.randint(1, 3)]:
            sentence['family'] = 'f'
        refs.append(
            {
                'ref_id': rng.randrange(1000),
                'image_id': image,
                'ann_ids': rng.choices(own, k=min(len(own), rng.randrange(4))) if own else [],
                'split': rng.choice(['train', 'val', 'testA']),
                'sentences': said,
            }
        )
    for part in (images, annotations):
        rng.shuffle(part)
    return {'categories': [], 'images': images, 'annotations': annotations, 'refs': refs}


def plain_items(content, folder, split, test_mode, swap=False, text='raw'):
    """What `RefCOCODataset` gives, by plain loops over all that is there."""
    images = {image['id']: image for image in content['images']}
    annotations = {ann['id']: ann for ann in content['annotations']}
    alike = Counter(
        (ann['image_id'], ann.get('category_id')) for ann in content['annotations'] if not ann.get('iscrowd')
    )
    refs = [ref for ref in content['refs'] if ref['split'] == split]
    items = []
    for place, ref in enumerate(refs):
        own = [annotations[ann_id] for ann_id in ref['ann_ids']]
        said = ref['sentences']
        if swap:
            circle = refs[place + 1 :] + refs[:place]
            others = [o for o in circle if o['image_id'] == ref['image_id'] and o['ann_ids'] != ref['ann_ids']]
            said = others[0]['sentences'] if others else []
        item = {
            'img_path': f'{folder}/images/{images[ref["image_id"]]["file_name"]}',
            'height': 8,
            'width': 9,
            'segmentations': [ann['segmentation'] for ann in own],
            'ref_id': ref['ref_id'],
            'split': split,
        }
        if not test_mode:
            items.append({**item, 'sentences': [sentence[text] for sentence in said]})
            continue
        categories = {ann['category_id'] for ann in own if 'category_id' in ann}
        if categories:
            item['distractors'] = sum(alike[ref['image_id'], category] for category in categories) - sum(
                'category_id' in annotations[ann_id] and not annotations[ann_id].get('iscrowd')
                for ann_id in set(ref['ann_ids'])
            )
        for sentence in said:
            family = {'family': sentence['family']} if 'family' in sentence else {}
            items.append({**item, 'sentences': [sentence[text]], 'sent_id': sentence['sent_id'], **family})
    return [{**item, 'sample_idx': number} for number, item in enumerate(items)]


@pytest.mark.parametrize(
    'settings',
    [
        dict(split='train'),
        dict(split='val'),
        dict(split='train', text_field='sent'),
        dict(split='val', test_mode=True),
        dict(split='testA', test_mode=True, swap_expressions=True),
    ],
)
@pytest.mark.parametrize('seed', range(4))
def test_items_are_those_of_a_plain_reader(seed, settings, write, tmp_path):
    content = random_set(seed)
    root = write(content, tmp_path / 'set')
    expected = plain_items(
        content,
        root,
        settings['split'],
        settings.get('test_mode', False),
        settings.get('swap_expressions', False),
        settings.get('text_field', 'raw'),
    )
    for dataset in (RefCOCODataset(str(root), **settings), RefCOCODataset(str(root), **settings)):
        assert [dataset.get_data_info(number) for number in range(len(dataset))] == expected
    assert dataset.get_data_info(-1) == expected[-1]


@pytest.fixture
def counted(monkeypatch):
    """Number of readings of whole files, by the kind of file."""
    numbers = Counter()
    for kind in (Refs, Instances):

        def scan(self, whole=kind.scan):
            numbers[type(self).__name__] += 1
            return whole(self)

        monkeypatch.setattr(kind, 'scan', scan)
    return numbers


def first_item(root):
    return RefCOCODataset(str(root), split='train').get_data_info(0)


def test_the_files_are_read_whole_once(prepared, counted):
    before = first_item(prepared)
    assert all(first_item(prepared) == before for _ in range(2))
    assert len(RefCOCODataset(str(prepared), split='val', test_mode=True)) == 5
    assert counted == {'Refs': 1, 'Instances': 1}
    assert sorted(path.name for path in (prepared / 'index').iterdir()) == ['instances.safetensors', 'refs.safetensors']
    (prepared / 'refs.jsonl').write_text((prepared / 'refs.jsonl').read_text().replace('left one', 'LEFT ONE'))
    os.utime(prepared / 'refs.jsonl', ns=(1, 1))  # of the same size, at another time
    assert first_item(prepared)['sentences'][0] == 'LEFT ONE'
    assert counted == {'Refs': 2, 'Instances': 1}


@pytest.mark.parametrize(
    'damaged',
    [
        lambda data: b'',
        lambda data: b'no index',
        lambda data: data[:-1],
        lambda data: data[:8],
        lambda data: data.replace(b'I64', b'F64'),
        lambda data: data.replace(b'"sp', b'"SP').replace(b'"ann_id', b'"ann_ID'),
        *(lambda data, k=k: data[:-k] + bytes([data[-k] ^ 1]) + data[-k + 1 :] for k in (2, 9, 20, 60, 100)),
    ],
)
def test_a_damaged_index_is_made_anew(damaged, prepared, counted):
    before = first_item(prepared)
    for path in (prepared / 'index').iterdir():
        whole = path.read_bytes()
        path.write_bytes(damaged(whole))
        assert path.read_bytes() != whole
    assert first_item(prepared) == before == first_item(prepared)
    assert counted == {'Refs': 2, 'Instances': 2}


def test_an_exchanged_index(content, prepared, counted, write, tmp_path):
    """The index of the other file is made anew; that of a file of the same size and time is noticed by its refs."""
    before = first_item(prepared)
    first, second = sorted((prepared / 'index').iterdir())
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    assert first_item(prepared) == before
    assert counted == {'Refs': 2, 'Instances': 2}
    content['refs'][0]['split'] = 'dev__'  # of as many bytes as before
    other = write(content, tmp_path / 'other')
    for path in (folder / name for folder in (prepared, other) for name in ('refs.jsonl', 'instances.json')):
        os.utime(path, ns=(1, 1))
    first_item(prepared)
    (prepared / 'index').rename(other / 'index')
    with pytest.raises(DataError, match=r'refs\.jsonl: has changed'):
        first_item(other)


def test_everybody_who_reads_the_set_reads_its_index(prepared):
    first_item(prepared)
    (prepared / 'plain').touch()
    plain = (prepared / 'plain').stat().st_mode
    assert all(path.stat().st_mode == plain for path in (prepared / 'index').iterdir())


@pytest.mark.parametrize(('cache', 'readings'), [('cache', 1), ('file', 2)])
def test_folders_that_cannot_be_written(cache, readings, prepared, counted, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / cache))
    (tmp_path / 'file').touch()
    (prepared / 'index').touch()
    assert first_item(prepared) == first_item(prepared)
    assert counted == {'Refs': readings, 'Instances': readings}
    assert len(list(tmp_path.glob('cache/mmmagnet/*/*.safetensors'))) == (2 if cache == 'cache' else 0)


@pytest.mark.parametrize('name', ['refs.jsonl', 'instances.json'])
@pytest.mark.parametrize('damage', [lambda text: b'', lambda text: text[: len(text) // 9], lambda text: b'    ' + text])
def test_a_file_that_changes_is_noticed(name, damage, prepared):
    dataset = RefCOCODataset(str(prepared), split='val')
    pickled = pickle.dumps(dataset)
    (prepared / name).write_bytes(damage((prepared / name).read_bytes()))
    with pytest.raises(DataError, match=f'{name}: has changed since it was opened; start again'):
        dataset.get_data_info(0)
    with pytest.raises(DataError, match=f'{name}: has changed since'):
        pickle.loads(pickled)  # as a spawned worker does


def test_a_file_that_is_replaced_is_read_to_the_end(prepared):
    dataset = RefCOCODataset(str(prepared), split='val')
    before = dataset.get_data_info(0)
    for name in ('refs.jsonl', 'instances.json'):
        (prepared / 'new').write_text('other')
        (prepared / 'new').replace(prepared / name)
    assert dataset.get_data_info(0) == before


def test_an_id_twice_is_the_last(content, write, tmp_path):
    content['annotations'].insert(0, {**content['annotations'][0], 'segmentation': [[0, 0, 1, 1, 2, 2]]})
    content['images'].append({**content['images'][0], 'file_name': 'last.png'})
    item = first_item(write(content, tmp_path / 'set'))
    assert item['segmentations'] == [[[2, 2, 8, 2, 8, 7, 2, 7]]]
    assert item['img_path'].endswith('last.png')


@pytest.mark.parametrize('field', ['image_id', 'ann_ids'])
def test_ids_beyond_64_bits(field, content, write, tmp_path):
    content['refs'][3][field] = 2**63 if field == 'image_id' else [2**63]
    with pytest.raises(DataError, match=r'refs\.jsonl, line 4: not a ref'):
        RefCOCODataset(str(write(content, tmp_path / 'set')), split='train')
    for part in ('images', 'annotations'):
        content[part].append({**content[part][0], 'id': 2**63})
    content['refs'][3][field] = 3 if field == 'image_id' else []
    assert len(RefCOCODataset(str(write(content, tmp_path / 'other')), split='train')) == 3


def test_the_index_is_mapped(prepared):
    dataset = RefCOCODataset(str(prepared), split='train')
    if not Path('/proc/self/maps').exists():
        pytest.skip('not Linux')
    mapped = Path('/proc/self/maps').read_text()
    for name in ('refs', 'instances'):
        assert str(prepared / 'index' / f'{name}.safetensors') in mapped
    del dataset


def _start(barrier, root, results):
    barrier.wait()
    dataset = RefCOCODataset(root, split='train')
    results.put([dataset.get_data_info(number)['ref_id'] for number in range(len(dataset))])


def test_processes_that_start_at_once(prepared):
    context = multiprocessing.get_context('fork')
    for _ in range(3):
        barrier, results = context.Barrier(4), context.Queue()
        processes = [context.Process(target=_start, args=(barrier, str(prepared), results)) for _ in range(4)]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == [[0, 1, 2]] * 4
        for process in processes:
            process.join()
        index = list((prepared / 'index').iterdir())
        assert sorted(path.suffix for path in index) == ['.safetensors'] * 2
        for path in index:
            path.unlink()


def test_lines_stay_the_exchange_format(prepared):
    """What is edited by hand counts at the next start, and an error names its line."""
    lines = (prepared / 'refs.jsonl').read_text().splitlines()
    RefCOCODataset(str(prepared), split='train')
    ref = json.loads(lines[0]) | {'ref_id': 77, 'sentences': [{'sent_id': 1, 'raw': 'new'}]}
    (prepared / 'refs.jsonl').write_text('\n'.join([*lines, json.dumps(ref)]))
    dataset = RefCOCODataset(str(prepared), split='train')
    assert dataset.get_data_info(3)['sentences'] == ['new']
    (prepared / 'refs.jsonl').write_text('\n'.join([*lines, json.dumps(ref)[:-1]]))
    with pytest.raises(DataError, match=r'refs\.jsonl, line 8: not a ref'):
        RefCOCODataset(str(prepared), split='train')
