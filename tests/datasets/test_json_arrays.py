"""A large JSON file, element by element: the same as all at once, wherever its pieces end."""

import json

import pytest

from mmmagnet.datasets import json_arrays
from mmmagnet.datasets.json_arrays import array_elements

WHOLE = (
    '\n{"info": {"year": 2014, "é": [1, {"b": []}]}, "images": [ {"id": 1, "file_name": "é \\u00e9 \\"]}"},\n{"id":2}],'
    ' "licenses": [],"n": 12345, "t": true , "annotations":[3,-4.5e3, "x", null, [1,2], {}]} \n'
)
DOCUMENTS = {
    'whole': WHOLE,
    'empty arrays': '{"annotations":[],"images":[ ]}',
    'nothing else': '{"images":[{"a":{"b":1}}],"annotations":[12]}',
}


def elements(path):
    return list(array_elements(path, ('images', 'annotations')))


@pytest.mark.parametrize('piece', [1, 2, 3, 7, 64, 2**20])
@pytest.mark.parametrize('name', DOCUMENTS)
def test_elements_and_their_places(name, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(json_arrays, 'PIECE', piece)
    path = tmp_path / 'x.json'
    path.write_text(DOCUMENTS[name], encoding='utf-8')
    content, text = json.loads(DOCUMENTS[name]), path.read_bytes()
    found = {'images': [], 'annotations': []}
    for array, first, size, _ in elements(path):
        found[array].append(json.loads(text[first : first + size]))
    assert found == {array: content[array] for array in found}


@pytest.mark.parametrize('piece', [5, 2**20])
def test_cut_files(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(json_arrays, 'PIECE', piece)
    path, text = tmp_path / 'x.json', WHOLE.rstrip().encode()
    for size in range(len(text)):
        path.write_bytes(text[:size])
        with pytest.raises(ValueError, match=r'at byte|utf-8'):
            elements(path)


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        (b'', ValueError, 'one of { at byte 0'),
        (b'[]', ValueError, 'one of { at byte 0'),
        (b'{}', KeyError, 'images'),
        (b'{"images": []}', KeyError, 'annotations'),
        (b'{"images": {}, "annotations": []}', ValueError, r'one of \[ at byte 11'),
        (b'{"images": [1 2], "annotations": []}', ValueError, r'one of ,\] at byte 14'),
        (b'{"images": [1,], "annotations": []}', ValueError, 'Expecting value at byte 14'),
        (b'{"images": [], "annotations": []} 1', ValueError, 'follows its end'),
        (b'{"images": [], "annotations": [], "images": []}', ValueError, 'there are several images'),
        (b'{["images"]: [], "images": [], "annotations": []}', ValueError, 'is no name of a field'),
        (b'{"images": [], "annotations": [], "x": "\xff"}', ValueError, 'utf-8'),
        (b'{"images": [], "annotations": ' + b'[' * 100_000, RecursionError, None),
    ],
)
def test_refused(text, error, message, tmp_path):
    path = tmp_path / 'x.json'
    path.write_bytes(text)
    with pytest.raises(error, match=message):
        elements(path)
