"""tools/infer.py: many images and lists, what fails, and what a console can show."""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import write_checkpoint

ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp('infer'))


@pytest.fixture
def infer(checkpoint, tmp_path, monkeypatch, capsys):
    """Run the tool beside images in a, b and d; exit status, lines of both streams, and entries of results.json."""
    for name in ('a/x.png', 'b/x.png', 'b/y.png', 'd/é [1].png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS).save(tmp_path / name)
    (tmp_path / 'broken.png').write_bytes(b'no image')
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / 'tools' / 'infer.py'))['main']

    def run(*arguments: str):
        status = main([*arguments, '--checkpoint', str(checkpoint), '--device', 'cpu', '--out-dir', 'out'])
        printed, written = capsys.readouterr(), tmp_path / 'out' / 'results.json'
        entries = json.loads(written.read_text()) if written.exists() else []
        for entry in entries:
            assert np.asarray(Image.open(tmp_path / 'out' / entry['mask'])).shape == PIXELS.shape[:2]
            assert (tmp_path / 'out' / entry['overlay']).is_file()
        return status, printed.out.splitlines(), printed.err.splitlines(), entries

    return run


def test_images_and_folders(infer):
    status, lines, errors, entries = infer('a/x.png', 'b', '--text', 'the red\ncircle', '--text', 'the square')
    assert (status, errors) == (0, [])
    expected = [
        (name, text) for name in ('a/x.png', 'b/x.png', 'b/y.png') for text in ('the red\ncircle', 'the square')
    ]
    assert [(entry['image'], entry['expression']) for entry in entries] == expected
    assert len({entry['mask'] for entry in entries}) == 6
    assert lines[0].startswith('out/x_0_the_red_circle_overlay.png: ') and lines[0].endswith('"the red\\ncircle"')


LISTS = {
    'list.csv': 'expression,image,more\nthe red circle,x.png,1\n"a, b",../d/é [1].png,2\nthe square,x.png,3\n',
    'list.jsonl': '{"image": "x.png", "expression": "the red circle"}\n\n'
    '{"image": "../d/é [1].png", "expression": "a, b"}\n{"image": "x.png", "expression": "the square"}\n',
    'list.json': '[{"image": "x.png", "expression": "the red circle"},\n'
    '{"image": "../d/é [1].png", "expression": "a, b"}, {"image": "x.png", "expression": "the square"}]',
}


@pytest.mark.parametrize('name', LISTS)
def test_list(name, infer):
    Path('b', name).write_text(LISTS[name], encoding='utf-8')
    status, _, _, entries = infer('--list', f'b/{name}')
    assert status == 0
    found = [(entry['image'], entry['expression']) for entry in entries]
    assert found == [('b/x.png', 'the red circle'), ('b/x.png', 'the square'), ('b/../d/é [1].png', 'a, b')]


def test_what_fails_is_named_and_stops_nothing(infer):
    status, lines, errors, entries = infer('broken.png', 'a/x.png', 'none.png', '--text', '', '--text', 'the square')
    assert (status, len(lines), len(entries)) == (1, 1, 1)
    assert [line.partition(' (')[0] for line in errors] == [
        'failed: broken.png: not a whole image',
        'failed: a/x.png: expression 1 of 2 is empty: say what to segment',
        'failed: none.png: no such image file',
    ]


def test_strict(infer):
    status, lines, errors, entries = infer('a/x.png', 'none.png', 'b/x.png', '--text', 'the square', '--strict')
    assert (status, len(lines), len(entries)) == (2, 1, 1)
    assert errors == ['error: none.png: no such image file']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('', 'list.csv: is empty'),
        ('image,text\nx.png,a\n', 'list.csv, line 2: lacks image or expression'),
        ('image,expression\nx.png,a, b\n', 'list.csv, line 2: has more fields than the first line'),
        ('image,expression\nx.png\n', 'list.csv, line 2: lacks image or expression'),
        ('image,expression\nx.png,"a\n', 'list.csv: not a whole list'),
        (b'image,expression\nx.png,\xff\n', 'list.csv: not a whole list'),
        ('{"image": "x.png"', 'list.jsonl: not a whole list'),
        ('1\n', 'list.jsonl, line 1: lacks image or'),
        ('[1]', 'list.json, entry 1: lacks image or'),
        ('{"image": 5, "expression": "a"}', 'list.jsonl, line 1: lacks image or'),
        (None, 'list.csv: No such file or directory'),
    ],
)
def test_damaged_lists(content, message, infer):
    name = message.partition(':')[0].partition(',')[0]
    if content is not None:
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    status, lines, errors, _ = infer('--list', name)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith(f'error: {message}')
    assert not Path('out').exists()


@pytest.mark.parametrize(
    'arguments',
    [[], ['a.png'], ['--text', 'x'], ['a.png', '--list', 'b.csv'], ['--list', 'b.csv', '--text', 'x']],
)
def test_usage(arguments, infer, capsys):
    with pytest.raises(SystemExit) as left:
        infer(*arguments)
    assert left.value.code == 2
    assert 'give IMAGE and --text, or --list FILE' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['result.png', 'a/x.png', 'taken'])
def test_out_dir_is_a_folder(infer, checkpoint, capsys, name):
    Path('taken').touch()
    main = runpy.run_path(str(ROOT / 'tools' / 'infer.py'))['main']
    assert main(['b', '--text', 'x', '--checkpoint', str(checkpoint), '--out', name]) == 2
    assert capsys.readouterr().err == f'error: --out-dir {name}: names a file; give a folder\n'
    assert not Path('result.png').exists()


def test_a_console_that_is_not_utf8(infer, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', console)
    assert infer('d', '--text', 'the été')[0] == 0
    console.flush()
    assert console.buffer.getvalue().decode('ascii').endswith('"the \\xe9t\\xe9"\n')


@pytest.mark.skipif(os.name == 'nt', reason='names are bytes on Linux alone')
def test_a_name_that_is_not_utf8(infer):
    Path('a/x.png').rename(Path(os.fsdecode(b'a/\xff.png')))
    status, lines, _, entries = infer('a', '--text', 'the square')
    assert (status, len(lines)) == (0, 1)
    assert os.fsencode(entries[0]['image']) == b'a/\xff.png'
