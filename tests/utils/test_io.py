"""Files written whole or not at all."""

import pytest

from mmmagnet.utils.io import atomic_write, file_sha256, write_json


@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize('old', [None, 'old'])
def test_an_error_leaves_what_was_there(error, old, tmp_path):
    path = tmp_path / 'file'
    if old:
        path.write_text(old)
    with pytest.raises(type(error)), atomic_write(path) as file:
        file.write('half')
        file.flush()
        raise error
    assert [entry.name for entry in tmp_path.iterdir()] == (['file'] if old else [])
    assert not old or path.read_text() == old


def test_the_old_file_stays_until_the_end(tmp_path):
    path = tmp_path / 'new folder' / 'file'
    with atomic_write(path, 'wb') as file:
        file.write(b'a\r\n')
        assert not path.exists()
    assert path.read_bytes() == b'a\r\n'
    with atomic_write(path) as file:
        file.write('café\n')
        file.flush()
        assert path.read_bytes() == b'a\r\n'
    assert path.read_bytes() == 'café\n'.encode()


def test_a_failed_sync_does_not_replace(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, 'Input/output error')

    (tmp_path / 'a').write_text('old')
    monkeypatch.setattr('os.fsync', fail)
    with pytest.raises(OSError, match='Input'):
        write_json(tmp_path / 'a', {'new': 1})
    assert (tmp_path / 'a').read_text() == 'old'
    assert [entry.name for entry in tmp_path.iterdir()] == ['a']


def test_json_and_sum(tmp_path):
    write_json(tmp_path / 'a', {'b': [1]})
    assert (tmp_path / 'a').read_text() == '{\n  "b": [\n    1\n  ]\n}\n'
    (tmp_path / 'a').write_bytes(b'abc')
    assert file_sha256(tmp_path / 'a') == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
