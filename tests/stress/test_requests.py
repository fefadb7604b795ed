"""A thousand malformed requests: the inferencer and the command answer or refuse each, and leave no file behind."""

from __future__ import annotations

import io
import json
import os
import runpy
import struct
import warnings
from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from trained import write_checkpoint

from mmmagnet.apis import ReferringInferencer, ReferringResult
from mmmagnet.utils.errors import DataError

ROOT = Path(__file__).parents[2]
FORMATS = ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM')
MODES = (
    '1',
    'L',
    'P',
    'RGB',
    'RGBA',
    'LA',
    'CMYK',
    'YCbCr',
    'HSV',
    'LAB',
    'I',
    'I;16',
    'F',
    'RGBX',
    'RGBa',
    'La',
    'PA',
)
RULES = settings(
    max_examples=500,
    deadline=timedelta(seconds=20),  # none hangs
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def files(draw):
    """An image file, often damaged."""
    size = draw(st.sampled_from([(1, 1), (7, 5), (64, 1), (1, 300), (30, 20)]))
    file = io.BytesIO()
    noise = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 255, (*size[::-1], 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, draw(st.sampled_from(FORMATS)))
    content = bytearray(file.getvalue())
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content) - 1))
        kind = draw(st.sampled_from(['byte', 'number', 'cut', 'insert']))
        if kind == 'byte':
            content[place] = draw(st.integers(0, 255))
        elif kind == 'number':
            content[place : place + 4] = struct.pack('>I', draw(st.sampled_from([0, 1, 2**15, 2**31 - 1, 2**32 - 1])))
        elif kind == 'insert':
            content[place:place] = draw(st.binary(max_size=20))
        else:
            del content[place:]
            break
    return bytes(content) or b'x'


TEXT = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(), max_size=40),  # with halves of surrogate pairs
    st.sampled_from(
        ['the red circle', '', '\n', 'red ' * 10_001, '\u202eleft', '../../x', '[MASK] [SEP]', 'a' * 9999, '\x00']
    ),
)
THINGS = st.one_of(
    st.none(), st.integers(), st.floats(), st.binary(max_size=9), st.dictionaries(st.text(), st.none(), max_size=2)
)
NAMES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(['/dev/zero', '..', '/', 'a' * 5000, 'http://127.0.0.1:1/x', 'https://', '[x].png']),
)
ARRAYS = st.builds(
    lambda shape, kind: np.zeros(shape, kind),
    st.lists(st.integers(0, 4), max_size=4).map(tuple) | st.just((3, 5, 3)),
    st.sampled_from([np.uint8, np.float32, np.int64, bool, object]),
)
PICTURES = st.builds(
    lambda mode, size: Image.new(mode, size), st.sampled_from(MODES), st.sampled_from([(1, 1), (0, 3), (9, 4)])
)
GOOD = st.sampled_from(['the red circle', 'left\nsquare \U0001f408'])
TEXTS = st.one_of(
    GOOD, st.lists(GOOD, min_size=1, max_size=3), TEXT, THINGS, st.lists(TEXT | THINGS, max_size=4), ARRAYS
)


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    return ReferringInferencer(write_checkpoint(tmp_path_factory.mktemp('trained')), device='cpu')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of its own inside one that must not change."""
    (tmp_path / 'work').mkdir()
    monkeypatch.chdir(tmp_path / 'work')
    return tmp_path


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.filterwarnings('ignore')
def test_inferencer(inferencer, folder):
    seen: Counter[str] = Counter()

    @RULES
    @given(image=st.one_of(files(), files(), files(), PICTURES, NAMES, ARRAYS, THINGS), text=TEXTS, pairs=st.booleans())
    def request(image, text, pairs):
        path = folder / 'image'
        if isinstance(image, bytes) and image:
            path.write_bytes(image)
            image = path
        before = content_of(folder)
        try:
            found = inferencer([(image, text)])[0] if pairs else inferencer(image, text)
        except (DataError, OSError) as error:
            assert str(error).strip()
            seen['refused'] += 1
        else:
            results = found if isinstance(found, list) else [found]
            assert results and all(isinstance(result, ReferringResult) for result in results)
            assert all(result.mask.shape == result.image.shape[:2] and result.draw().size for result in results)
            seen['answered'] += 1
        assert content_of(folder) == before

    request()
    assert min(seen['refused'], seen['answered']) > 25


@pytest.mark.filterwarnings('ignore')
def test_command(inferencer, folder, monkeypatch, capsys):
    monkeypatch.setattr('mmmagnet.apis.ReferringInferencer', lambda *_: inferencer)
    main = runpy.run_path(str(ROOT / 'tools' / 'infer.py'))['main']
    work, statuses = folder / 'work', Counter()
    ARGUMENT = st.one_of(
        NAMES,
        TEXT,
        st.sampled_from(['--text', '--list', '--strict', 'image', '--', '-', '--device', '--out-dir=image']),
    )

    @RULES
    @given(
        content=files(),
        listed=st.one_of(st.binary(max_size=60), st.lists(st.tuples(NAMES | st.just('image'), TEXTS)).map(as_lines)),
        form=st.sampled_from(['image', 'list', 'any']),
        given_texts=st.lists(GOOD | TEXT, min_size=1, max_size=3),
        arguments=st.lists(ARGUMENT, max_size=4),
    )
    def request(content, listed, form, given_texts, arguments):
        (work / 'image').write_bytes(content)
        (work / 'list.jsonl').write_bytes(listed)
        before = content_of(folder)
        if form == 'image':
            arguments = ['image', *(f'--text={text}' for text in given_texts)]
        elif form == 'list':
            arguments = ['--list', 'list.jsonl']
        try:
            status = main(['--checkpoint', 'c', '--out-dir', 'out', *arguments])
        except SystemExit as left:  # argparse's
            status = left.code
        assert status in (0, 1, 2)
        statuses[status] += 1
        printed = capsys.readouterr()
        assert status == 0 or printed.err.strip()
        after = content_of(folder)
        made = {name for name in after if name not in before}
        assert all(Path(name).parent == work / 'out' and name.endswith(('.png', '.json')) for name in made)
        assert {name: after[name] for name in before} == before
        entries = json.loads((work / 'out' / 'results.json').read_bytes()) if made else []
        assert len(made) == 2 * len(entries) + bool(made)
        for name in made:
            os.unlink(name)  # noqa: PTH108

    request()
    assert min(statuses[0], statuses[1], statuses[2]) > 10


def as_lines(rows: list[tuple[str, object]]) -> bytes:
    """JSON lines; what JSON has no form for becomes text."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return b''.join(json.dumps({'image': i, 'expression': e}, default=str).encode() + b'\n' for i, e in rows)
