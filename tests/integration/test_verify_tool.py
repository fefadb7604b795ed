"""The verification as a user runs it: a report, a file of it, exit codes."""

import json
import runpy
from pathlib import Path

import pytest
from PIL import Image

TOOL = Path(__file__).parents[2] / 'tools' / 'dataset_converters' / 'verify.py'
TOKENIZER = 'package://mmmagnet/datasets/synthetic/tokenizer'


@pytest.fixture
def folder(tmp_path):
    """A prepared set of two refs on two images."""
    folder = tmp_path / 'set'
    (folder / 'images').mkdir(parents=True)
    refs, content = [], {'images': [], 'annotations': [], 'categories': []}
    for number, split in enumerate(['train', 'val'], start=1):
        Image.new('RGB', (8, 6)).save(folder / 'images' / f'{number}.png')
        content['images'].append({'id': number, 'file_name': f'{number}.png', 'width': 8, 'height': 6})
        content['annotations'].append(
            {'id': number, 'image_id': number, 'category_id': 1, 'segmentation': [[1, 1, 5, 1, 5, 5, 1, 5]]}
        )
        said = [{'sent_id': number, 'raw': f'thing {number}'}]
        refs.append({'ref_id': number, 'image_id': number, 'ann_ids': [number], 'split': split, 'sentences': said})
    (folder / 'refs.jsonl').write_text(''.join(json.dumps(ref) + '\n' for ref in refs))
    (folder / 'instances.json').write_text(json.dumps(content))
    return folder


def run(*arguments):
    return runpy.run_path(str(TOOL))['main']([*map(str, arguments), '--tokenizer', TOKENIZER])


def test_clean(folder, tmp_path, capsys):
    assert run(folder, '--json', tmp_path / 'report.json') == 0
    printed, errors = capsys.readouterr()
    assert [line.split() for line in printed.splitlines()[:3]] == [
        ['split', 'refs', 'sentences', 'images'],
        ['train', '1', '1', '1'],
        ['val', '1', '1', '1'],
    ]
    assert printed.splitlines()[-1] == '0 kinds of errors, 0 of warnings' and not errors
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['counts']['val'] == {'refs': 1, 'sentences': 1, 'images': 1} and report['findings'] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ['report.json', 'set']


def test_errors(folder, tmp_path, capsys):
    (folder / 'images' / '1.png').unlink()
    assert run(folder, '--json', tmp_path / 'report.json') == 1
    assert 'error: image files that are not there: 1\n    1.png\n' in capsys.readouterr().out
    (finding,) = json.loads((tmp_path / 'report.json').read_text())['findings']
    assert finding['severity'] == 'error' and finding['count'] == 1 and finding['examples'] == ['1.png']
    assert run(folder, '--no-images') == 0
    assert run(folder, '--no-images', '--dataset', 'refcoco', '--split-by', 'unc') == 1
    assert 'train: 1 refs, published are 42404' in capsys.readouterr().out


@pytest.mark.parametrize('damage', [lambda path: path.unlink(), lambda path: path.write_text('{')])
@pytest.mark.parametrize('name', ['refs.jsonl', 'instances.json'])
def test_what_cannot_be_read(name, damage, folder, tmp_path, capsys):
    damage(folder / name)
    assert run(folder, '--json', tmp_path / 'report.json') == 2
    printed, errors = capsys.readouterr()
    assert not printed and errors.startswith(f'error: {folder / name}') and errors.count('\n') == 1
    assert not (tmp_path / 'report.json').exists()


def test_half_a_name_of_a_set(folder, capsys):
    with pytest.raises(SystemExit, match='2'):
        run(folder, '--dataset', 'refcoco')
    assert '--dataset and --split-by belong together' in capsys.readouterr().err
