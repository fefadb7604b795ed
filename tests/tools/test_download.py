"""Downloads from a server on this machine: what arrives, what is refused, what is left after a failure."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import tarfile
import threading
import urllib.parse
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

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
        path = urllib.parse.unquote(self.path)
        start = int(re.sub(r'\D', '', self.headers.get('Range', '')) or 0)
        self.server.requests.append((path, start))
        reply = self.server.replies.get(path)
        if reply is None:
            self.send_error(404)
            return
        start = start if reply.ranges else 0
        size, body = len(reply.body), reply.body[start:]
        headers = {'Content-Type': reply.kind}
        if start:
            headers['Content-Range'] = f'bytes {start}-{size - 1}/{size}' if start < size else f'bytes */{size}'
        if reply.length:
            headers['Content-Length'] = str(len(body))
        self.send_response(200 if not start else 206 if start < size else 416)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: reply.cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.replies, server.requests = {}, []
        server.address = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(download, server):
    """Download a source from addresses of the server; gives status, stdout and stderr."""

    def run(addresses, *more, **settings):
        addresses = {re.sub(r'^/', f'{server.address}/', address): checksum for address, checksum in addresses.items()}
        return download(addresses, *more, **settings)

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
def test_a_bad_address_is_told_and_the_next_tried(get, downloader, server, tmp_path, monkeypatch, reply, part, told):
    monkeypatch.setattr(downloader, 'LIMIT', 2 * len(BODY))
    if part:
        (tmp_path / 'a.pth.part').write_bytes(part)
    server.replies |= {'/first/a.pth': reply, '/second/b.pth': Reply()}
    status, out, err = get({'/first/a.pth': SHA, '/second/b.pth': SHA})
    assert status == 0
    assert f'{server.address}/first/a.pth: ' in err and told in err
    assert f'from {server.address}/second/b.pth' in out
    assert (tmp_path / 'it').read_bytes() == BODY
    resumable = ['a.pth.part'] if told.startswith('ended after 1000') else []
    assert names_in(tmp_path) == [*resumable, 'it']


def test_all_dead_is_one_line_and_a_status(get, tmp_path, capsys):
    status, out, err = get({'http://127.0.0.1:1/a.pth': SHA, 'http://name.invalid/a.pth': '', '/none': ''})
    assert status == 2
    *tried, error = err.splitlines()
    assert error == 'error: refcoco: no address works; docs/data.md names other copies'
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
def test_bad_archives(get, downloader, server, tmp_path, monkeypatch, body, told):
    monkeypatch.setattr(downloader, 'LIMIT', 10**6)
    server.replies['/a.zip'] = Reply(body)
    status, _, err = get({'/a.zip': ''}, REFS, place='{root}/in/here/it')
    assert status == 2
    assert told in err, err
    assert names_in(tmp_path) == []
    assert not Path('/tmp/evil').exists()
