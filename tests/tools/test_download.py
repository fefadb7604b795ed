"""Downloads from a server on this machine: what arrives, what is refused, what is left after a failure."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import io
import re
import shlex
import sys
import tarfile
import threading
import urllib.parse
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
BODY = bytes(range(256)) * 4000
SHA = f'sha256:{hashlib.sha256(BODY).hexdigest()}'
MD5 = f'md5:{hashlib.md5(BODY).hexdigest()}'


@dataclass
class Reply:
    """What the server has under an address: `cut` bytes of an answer arrive, then the connection ends."""

    body: bytes = BODY
    ranges: bool = True
    cut: int | None = None
    length: bool = True
    kind: str = 'application/octet-stream'


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.replies` by path and notes the ranges that are asked for."""

    def do_GET(self):
        self.answer(send=True)

    def do_HEAD(self):
        self.answer(send=False)

    def answer(self, send):
        path = urllib.parse.unquote(self.path)
        start = int(re.sub(r'\D', '', self.headers.get('Range', '')) or 0)
        if send:
            self.server.requests.append((path, start))
        reply = self.server.replies.get(path)
        if reply is None:
            self.send_response(404)
            self.send_header('X-Error-Code', 'EntryNotFound')  # the hub's
            self.end_headers()
            return
        start = start if reply.ranges else 0
        size, body = len(reply.body), reply.body[start:]
        if start and start >= size:
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{size}')
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{size - 1}/{size}')
        if reply.length:
            self.send_header('Content-Length', str(len(body)))
        self.send_header('Content-Type', reply.kind)
        self.send_header('ETag', f'"{hashlib.md5(reply.body).hexdigest()}"')
        self.send_header('X-Repo-Commit', 'c' * 40)
        self.end_headers()
        if send:
            self.wfile.write(body[: reply.cut])

    def log_message(self, *_):
        pass


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('download', ROOT / 'tools' / 'download.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['download'] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.replies, server.requests = {}, []
        server.address = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(tool, server, monkeypatch, tmp_path, capsys):
    """Download a source from addresses of the server; gives status, stdout and stderr."""

    def run(addresses, files=None, place='{root}/it'):
        addresses = {re.sub(r'^/', f'{server.address}/', address): checksum for address, checksum in addresses.items()}
        monkeypatch.setitem(tool.SOURCES, 'refcoco', tool.Source('', place, addresses, files or {}, 'convert {root}'))
        status = tool.main(['refcoco', '--root', str(tmp_path)])
        return status, *capsys.readouterr()

    return run


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*'))


@pytest.mark.parametrize(
    ('part', 'reply', 'checksum', 'starts', 'told'),
    [
        (b'', Reply(), SHA, [0], 'a.pth: sha256 is right'),
        (b'', Reply(), MD5, [0], 'a.pth: md5 is right'),
        (b'', Reply(), SHA[:15], [0], 'a.pth: sha256 is right'),
        (b'', Reply(), '', [0], 'a.pth: not compared, as no checksum is known'),
        (b'', Reply(length=False), SHA, [0], 'right'),
        (BODY[:1000], Reply(), SHA, [1000], 'right'),
        (BODY[:1000], Reply(ranges=False), SHA, [1000], 'right'),
        (BODY, Reply(), '', [len(BODY)], 'not compared'),
        (BODY + b'more', Reply(), SHA, [len(BODY) + 4, 0], 'right'),
        (b'', Reply(cut=600_000), SHA, [0, 600_000], 'right'),
    ],
)
def test_arrives(get, server, tmp_path, part, reply, checksum, starts, told):
    if part:
        (tmp_path / 'a.pth.part').write_bytes(part)
    server.replies['/a.pth'] = reply
    status, out, err = get({'/a.pth': checksum})
    assert status == 0, err
    assert [start for _, start in server.requests] == starts
    assert told in out and f'wrote {tmp_path}/it' in out
    assert (tmp_path / 'it').read_bytes() == BODY
    assert names_in(tmp_path) == ['it']


@pytest.mark.parametrize(
    ('reply', 'part', 'told'),
    [
        (None, b'', 'HTTP 404 Not Found'),
        (Reply(b'<html>sign in</html>', kind='text/html'), b'', 'a web page'),
        (Reply(b''), b'', 'ended after 0'),
        (Reply(BODY[:-1]), b'', 'has the sha256'),
        (Reply(), b'of another file', 'has the sha256'),
        (Reply(cut=1000, ranges=False), b'', 'ended after 1000 of 1024000 bytes'),
        (Reply(BODY * 3), b'', '3072000 bytes, more than 2048000'),
        (Reply(BODY * 3, length=False), b'', 'more than 2048000'),
    ],
    ids=['404', 'page', 'empty', 'other file', 'other part', 'truncated', 'too large', 'endless'],
)
def test_a_bad_address_is_told_and_the_next_one_tried(get, tool, server, tmp_path, monkeypatch, reply, part, told):
    monkeypatch.setattr(tool, 'LIMIT', 2 * len(BODY))
    if part:
        (tmp_path / 'a.pth.part').write_bytes(part)
    server.replies |= {'/first/a.pth': reply, '/second/a.pth': Reply()}
    status, out, err = get({'/first/a.pth': SHA, '/second/a.pth': SHA})
    assert status == 0
    assert f'{server.address}/first/a.pth: ' in err and told in err
    assert f'from {server.address}/second/a.pth' in out
    assert (tmp_path / 'it').read_bytes() == BODY
    assert names_in(tmp_path) == ['it']


def test_an_endless_answer_leaves_nothing(get, tool, server, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'LIMIT', len(BODY) // 2)
    server.replies['/a.pth'] = Reply(length=False)
    assert get({'/a.pth': ''})[0] == 2
    assert names_in(tmp_path) == []


def test_all_dead_is_one_line_and_a_status(get, tmp_path, capsys):
    status, out, err = get({'http://127.0.0.1:1/a.pth': SHA, 'http://name.invalid/a.pth': '', '/none': ''})
    assert status == 2
    *tried, error = err.splitlines()
    assert error == 'error: refcoco: none of 3 addresses works; docs/data.md names other copies'
    assert [re.sub(r'.*: (no answer|HTTP 404).*', r'\1', line) for line in tried] == ['no answer'] * 2 + ['HTTP 404']
    assert 'next' not in out and names_in(tmp_path) == []


def test_what_is_there_stays(get, server, tmp_path):
    (tmp_path / 'it').mkdir()
    status, _, err = get({'/a.zip': ''}, {'refs.p': ''})
    assert (status, err) == (2, f'error: {tmp_path}/it: is there without refs.p; move it away\n')
    (tmp_path / 'it' / 'refs.p').touch()
    status, out, _ = get({'/a.zip': ''}, {'refs.p': ''})
    assert status == 0 and 'already there' in out
    assert server.requests == []


def test_full_disk_while_it_arrives(get, server, tmp_path):
    (tmp_path / 'a.pth.part').symlink_to('/dev/full')
    server.replies |= {'/a.pth': Reply(), '/b.pth': Reply()}
    status, _, err = get({'/a.pth': SHA, '/b.pth': SHA})
    assert status == 2
    assert err == f'error: {tmp_path}/it: No space left on device\n'
    assert len(server.requests) == 1
    assert not (tmp_path / 'it').exists()


def test_full_disk_while_it_unpacks(get, server, tmp_path, monkeypatch):
    server.replies['/a.zip'] = Reply(make_zip({'set/refs.p': b'refs'}))

    def extract(archive, folder):
        Path(folder, 'set').mkdir(parents=True)
        Path(folder, 'set', 'refs.p').write_bytes(b're')
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, 'extractall', extract)
        status, _, err = get({'/a.zip': ''}, {'refs.p': ''})
    assert (status, err) == (2, f'error: {tmp_path}/it: No space left on device\n')
    assert names_in(tmp_path) == ['a.zip.part']
    assert get({'/a.zip': ''}, {'refs.p': ''})[0] == 0  # nothing is downloaded again
    assert [start for _, start in server.requests] == [0, len(server.replies['/a.zip'].body)]
    assert names_in(tmp_path) == ['it', 'it/refs.p']


def make_zip(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def make_tar(files):
    """A tar; a content that is text is the target of a link, one that is a number is the type of a device."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            else:
                member.type, member.linkname = content
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return stream.getvalue()


def negative_tar():
    """A tar whose second member is followed by itself."""
    first, second = tarfile.TarInfo('instances.json'), tarfile.TarInfo('refs(unc).p')
    second.size = -512
    return first.tobuf() + second.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


REFS = {'refs(unc).p': f'sha256:{hashlib.sha256(b"refs").hexdigest()}', 'instances.json': ''}
GOOD = {'refs(unc).p': b'refs', 'instances.json': b'{}', 'deep/more': b''}


@pytest.mark.parametrize('make', [make_zip, make_tar])
@pytest.mark.parametrize('top', ['', 'refcoco/', 'data/refer/refcoco/'])
def test_unpacks(get, server, tmp_path, make, top):
    server.replies['/a.zip'] = Reply(make({top + name: content for name, content in GOOD.items()}))
    (tmp_path / 'it.unpacking').mkdir()
    (tmp_path / 'it.unpacking' / 'refs(unc).p').touch()  # a run that was killed left it
    status, out, err = get({'/a.zip': ''}, REFS)
    assert status == 0, err
    assert 'refs(unc).p: sha256 is right' in out
    assert names_in(tmp_path) == ['it', 'it/deep', 'it/deep/more', 'it/instances.json', 'it/refs(unc).p']


def test_a_known_archive_vouches_for_its_files(get, server, tmp_path):
    body = make_zip({**GOOD, 'refs(unc).p': b'another revision'})
    server.replies['/a.zip'] = Reply(body)
    assert get({'/a.zip': f'sha256:{hashlib.sha256(body).hexdigest()}'}, REFS)[0] == 0


@pytest.mark.parametrize(
    ('body', 'told'),
    [
        (make_zip({**GOOD, '../evil': b''}), "outside, '../evil'"),
        (make_zip({**GOOD, 'a/../../evil': b''}), 'outside'),
        (make_zip({**GOOD, '/tmp/evil': b''}), 'outside'),
        (make_tar({**GOOD, '../evil': b''}), 'outside'),
        (make_tar({**GOOD, '/tmp/evil': b''}), 'outside'),
        (make_tar({**GOOD, 'evil': (tarfile.SYMTYPE, '../..'), 'evil/file': b''}), 'a link'),
        (make_tar({**GOOD, 'evil': (tarfile.LNKTYPE, '../../evil')}), 'a link'),
        (make_tar({**GOOD, 'evil': (tarfile.CHRTYPE, '')}), 'a link'),
        (make_zip({**GOOD, 'evil': bytes(2_000_000)}), 'an archive of more than 1000000 bytes'),
        (make_zip(GOOD)[:-40], 'a damaged archive'),
        (make_tar(GOOD)[:700], 'a damaged archive'),
        (negative_tar(), 'a damaged archive'),
        (make_tar({'.': b'', **GOOD}), 'a damaged archive'),
        (make_zip({'.': b'', **GOOD}), 'a damaged archive'),
        (make_tar({**GOOD, 'refs(unc).p/more': b''}), 'a damaged archive'),
        (make_zip(GOOD).replace(b'+JM+', b'+JM*'), 'a damaged archive'),
        (b'no archive' * 100, 'a damaged archive'),
        (make_zip({'refs(unc).p': b'refs'}), 'a.zip lacks instances.json'),
        (make_zip({**GOOD, 'refs(unc).p': b'others'}), 'refs(unc).p has the sha256'),
    ],
)
def test_bad_archives(get, tool, server, tmp_path, monkeypatch, body, told):
    root = tmp_path / 'in' / 'here'
    monkeypatch.setattr(tool, 'LIMIT', 10**6)
    server.replies['/a.zip'] = Reply(body)
    status, _, err = get({'/a.zip': ''}, REFS, place='{root}/in/here/it')
    assert status == 2
    assert told in err, err
    assert names_in(root) == []
    assert names_in(tmp_path) == ['in', 'in/here']
    assert not Path('/tmp/evil').exists()


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server as the hub, with a cache for this test."""
    import huggingface_hub

    real = huggingface_hub.hf_hub_download
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    options = dict(endpoint=server.address, cache_dir=tmp_path / 'cache')
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', functools.partial(real, **options))
    return server


@pytest.mark.parametrize(
    ('body', 'told'),
    [(b'refs', None), (b'others', 'refs(unc).p has the sha256'), (None, 'refs(unc).p: 404 Client Error')],
)
def test_hub_to_a_folder(get, hub, tmp_path, body, told):
    folder = f'/datasets/group/set/resolve/{"c" * 40}'
    hub.replies[f'{folder}/instances.json'] = Reply(b'{}')
    if body is not None:
        hub.replies[f'{folder}/refs(unc).p'] = Reply(body)
    status, out, err = get({f'hub:dataset:group/set:{"c" * 40}': ''}, REFS)
    if told is None:
        assert status == 0, err
        assert f'wrote {tmp_path}/it' in out and 'instances.json: not compared' in out
        assert (tmp_path / 'it' / 'refs(unc).p').read_bytes() == b'refs'
    else:
        assert status == 2
        assert told in err and err.splitlines()[-1].startswith('error: refcoco: none of 1')
        assert not (tmp_path / 'it' / 'refs(unc).p').exists()


def test_hub_to_its_cache(get, hub, tmp_path):
    hub.replies['/bert/resolve/main/config.json'] = Reply(b'{}')
    for _ in range(2):
        status, out, err = get({'hub:model:bert:main': ''}, {'config.json': ''}, place='')
        assert status == 0, err
        folder = tmp_path / 'cache' / 'models--bert' / 'snapshots' / ('c' * 40)
        assert f'wrote {folder}' in out and (folder / 'config.json').read_bytes() == b'{}'
    assert len(hub.requests) == 1


def test_hub_out_of_reach(get, hub, monkeypatch):
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr('time.sleep', lambda _: None)  # the hub's client tries five times
    status, _, err = get({'hub:model:bert:main': ''}, {'config.json': ''}, place='')
    assert status == 2
    assert err.splitlines()[-1].startswith('error: refcoco: none of 1 addresses works')


def test_hub_whose_cache_cannot_be_written(get, hub, tmp_path):
    """That is an error of the disk: the address is not to blame."""
    hub.replies['/bert/resolve/main/config.json'] = Reply(b'{}')
    (tmp_path / 'cache').touch()  # where a folder must be
    status, _, err = get({'hub:model:bert:main': ''}, {'config.json': ''}, place='')
    assert status == 2
    (error,) = err.splitlines()
    assert error.startswith(f'error: {tmp_path}/cache')


@pytest.mark.parametrize(
    ('names', 'there', 'commands'),
    [
        (['refcoco'], [], ['download.py train2014 --root {root}', 'refer.py {root} --dataset refcoco --split-by unc']),
        (['refcocog'], ['train2014'], ['refer.py {root} --dataset refcocog --split-by umd']),
        (['train2014'], ['train2014', 'grefcoco'], ['grefcoco.py {root}']),
        (['swin-b', 'bert-base-uncased'], [], ['train.py configs/magnet_swin_b.py']),
    ],
)
def test_next_commands(tool, tmp_path, names, there, commands):
    root = tmp_path / 'my sets'
    for name in there:
        for file in tool.SOURCES[name].files:
            path = Path(tool.SOURCES[name].place.format(root=root), file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    found = [re.sub(r'^python tools/(\w+/)?', '', command) for command in tool.next_commands(names, root)]
    assert found == [command.format(root=shlex.quote(str(root))) for command in commands]


def test_table(tool):
    """Addresses, checksums and commands have their form, and configs read the files where they are put."""
    for source in tool.SOURCES.values():
        for address in source.addresses:
            assert re.match(r'https?://[^?]+/[^/?]+\.(zip|tar|pth)$|hub:(model|dataset):[^:]+:\w+$', address)
        for checksum in [*source.addresses.values(), *source.files.values()]:
            assert re.fullmatch(r'|sha256:([0-9a-f]{8}|[0-9a-f]{64})|md5:[0-9a-f]{32}', checksum)
        for path in re.findall(r'\b(?:tools|configs)/\S+', source.next_command):
            assert (ROOT / path).is_file()
        if source.place.startswith('pretrained/'):
            config = Config.fromfile(ROOT / source.next_command.split()[-1])
            assert config.model.backbone.pretrained == source.place
    assert config.model.text_encoder.pretrained in tool.SOURCES


def test_list_and_unknown_name(tool, capsys):
    for arguments, status in ((['--list'], 0), (['refcocoo'], 2), ([], 2)):
        with pytest.raises(SystemExit) as ended:
            tool.main(arguments)
        assert ended.value.code == status
    out, err = capsys.readouterr()
    assert [line.split(':')[0] for line in out.splitlines() if not line.startswith(' ')] == list(tool.SOURCES)
    assert 'CC BY-NC-SA 4.0' in out and 'no checksum known' in out
    assert "invalid choice: 'refcocoo'" in err
