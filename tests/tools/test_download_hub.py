"""Downloads from a hub on this machine, to a folder and to the hub's own cache."""

import functools
import hashlib

import huggingface_hub
import pytest
from hub_server import COMMIT, serve

SET = {'refs(unc).p': f'sha256:{hashlib.sha256(b"refs").hexdigest()}', 'instances.json': ''}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub, a function that puts a file on it, and a cache for this test."""
    real = huggingface_hub.hf_hub_download
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    with serve({}) as server:
        options = dict(endpoint=server.url, cache_dir=tmp_path / 'cache')
        monkeypatch.setattr(huggingface_hub, 'hf_hub_download', functools.partial(real, **options))

        def put(name, content):
            server.files[name] = tmp_path / 'on the hub' / name
            server.files[name].parent.mkdir(parents=True, exist_ok=True)
            server.files[name].write_bytes(content)

        server.put = put
        yield server


@pytest.mark.parametrize(
    ('content', 'told'),
    [(b'refs', None), (b'others', 'refs(unc).p has the sha256'), (None, 'refs(unc).p: 404 Client Error')],
)
def test_to_a_folder(download, hub, tmp_path, content, told):
    hub.put('datasets/group/set/instances.json', b'{}')
    if content is not None:
        hub.put('datasets/group/set/refs(unc).p', content)
    status, out, err = download({'hub:dataset:group/set:main': ''}, SET, '{root}/new/it')
    if told is None:
        assert status == 0, err
        assert f'wrote {tmp_path}/new/it' in out and 'instances.json: not compared' in out
        assert (tmp_path / 'new/it/refs(unc).p').read_bytes() == b'refs'
    else:
        assert status == 2
        assert told in err and err.splitlines()[-1].startswith('error: refcoco: no address works')
        assert not (tmp_path / 'new').exists()


def test_to_its_cache(download, hub, tmp_path):
    hub.put('bert/config.json', b'{}')
    for _ in range(2):
        status, out, err = download({'hub:model:bert:main': ''}, {'config.json': ''}, place='')
        assert status == 0, err
        folder = tmp_path / 'cache' / 'models--bert' / 'snapshots' / COMMIT
        assert f'wrote {folder}' in out and (folder / 'config.json').read_bytes() == b'{}'
    assert [method for method, *_ in hub.asked].count('GET') == 1


@pytest.mark.parametrize('place', ['', '{root}/new/it'])
def test_out_of_reach(download, hub, tmp_path, monkeypatch, place):
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr('time.sleep', lambda _: None)  # the hub's client tries five times
    status, _, err = download({'hub:model:bert:main': ''}, {'config.json': ''}, place)
    assert status == 2
    address, error = err.splitlines()  # and none of the tries is told
    assert address.startswith('hub:model:bert:main: config.json: ')
    assert error == 'error: refcoco: no address works; docs/data.md names other copies'
    assert not (tmp_path / 'new').exists()


def test_a_cache_that_cannot_be_written(download, hub, tmp_path):
    """That is an error of the disk: the address is not to blame."""
    hub.put('bert/config.json', b'{}')
    (tmp_path / 'cache').touch()  # where a folder must be
    status, _, err = download({'hub:model:bert:main': ''}, {'config.json': ''}, place='')
    assert status == 2
    (error,) = err.splitlines()
    assert error.startswith(f'error: {tmp_path}/cache')
