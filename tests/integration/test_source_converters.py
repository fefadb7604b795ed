"""The converters as a user runs them: one report, and errors in one line that leave nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from sources import TOKENIZER, all_sources, main_of, write_files

SOURCES = all_sources()


def run(name, *arguments):
    return main_of(name)([str(argument) for argument in arguments])


@pytest.mark.parametrize('name', SOURCES)
def test_converter(name, tmp_path, capsys):
    source, out = SOURCES[name], tmp_path / 'out'
    if source.tool == 'parquet':
        pytest.importorskip('pyarrow')
    write_files(tmp_path / 'in', source.files)
    command = source.command(tmp_path / 'in', out)
    assert run(source.tool, *command) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == ['split', 'refs', 'sentences', 'images'] and lines[-1] == f'wrote {out}'
    assert [line.split()[2] for line in lines if line.startswith('val')] == [str(source.pairs)]
    assert 'images are not there' not in told.err
    assert run(source.tool, *command) == 2
    assert 'holds other content' in capsys.readouterr().err
    shutil.rmtree(tmp_path / 'in' / 'images')
    images = tmp_path / 'elsewhere'
    assert run(source.tool, *command, '--overwrite', '--images', images) in (0, 2)  # 2 where the images tell sizes
    assert f'{images}' in capsys.readouterr().err
    assert run(source.tool, *source.command(tmp_path / 'nowhere', tmp_path / 'other')) == 2
    printed, errors = capsys.readouterr()
    assert not printed and errors.startswith('error: ') and errors.count('\n') == 1
    assert not (tmp_path / 'other').exists()


def test_own_photographs(tmp_path, capsys):
    """Images are beside the labels by default, and a share of them becomes val."""
    points = [[1, 1], [6, 1], [6, 6]]
    for number in range(5):
        shape = {'label': 'cup', 'points': points, 'description': f'cup {number}', 'shape_type': 'polygon'}
        content = {'shapes': [shape], 'imagePath': f'{number}.png', 'imageWidth': 8, 'imageHeight': 8}
        (tmp_path / 'photographs').mkdir(exist_ok=True)
        (tmp_path / 'photographs' / f'{number}.json').write_text(json.dumps(content))
        Image.new('RGB', (8, 8)).save(tmp_path / 'photographs' / f'{number}.png')
    out = tmp_path / 'out'
    assert run('custom', tmp_path / 'photographs', '--out', out, '--val-share', '0.4') == 0
    printed, errors = capsys.readouterr()
    assert sorted(line.split()[:2] for line in printed.splitlines()[1:3]) == [['train', '3'], ['val', '2']]
    assert '2 of them, by their names, are val' in errors and errors.count('\n') == 1
    assert (out / 'images').resolve() == tmp_path / 'photographs'
    assert run('verify', out, '--tokenizer', TOKENIZER) == 0
    with pytest.raises(SystemExit):
        run('custom', tmp_path / 'photographs', '--out', out, '--val-share', '2')


def test_splits_of_mdetr(tmp_path, capsys):
    write_files(tmp_path, SOURCES['MDETR, with outlines'].files)
    train, val = tmp_path / 'x_train.json', tmp_path / 'x_val.json'
    rest = ['--images', tmp_path, '--out']
    assert run('mdetr', f'testA={train}', val, *rest, tmp_path / 'out') == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ['testA', 'val']
    (tmp_path / 'a=b').mkdir()
    moved = Path(shutil.copy(val, tmp_path / 'a=b' / 'x_val.json'))
    assert run('mdetr', moved, f'testA={moved}', *rest, tmp_path / 'c') == 0
    assert run('mdetr', f'val={train}', val, *rest, tmp_path / 'b') == 2
    assert 'a second file of the split val' in capsys.readouterr().err
