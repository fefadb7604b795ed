"""Malformed requests to the page: each is answered in time, and no file of the machine is read or left."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import struct
import zlib
from collections import Counter
from urllib.parse import quote

import numpy as np
import pytest
from demo_server import serve_demo
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_requests import GOOD, NAMES, RULES, TEXT, THINGS, content_of, files
from trained import write_checkpoint

from mmmagnet.apis import ReferringInferencer

pytest.importorskip('gradio')

SECRET = b'what no answer may hold'
ROUTES = ['/', '/config', '/theme.css', '/static/', '/assets/', '/monitoring/']
ROUTES += [
    f'/gradio_api{route}'
    for route in (
        '/file=',
        '/file/',
        '/proxy=',
        '/deep_link?session_hash=',
        '/queue/data?session_hash=',
        '/call/segment/',
    )
]
POSTS = ['/run/segment', '/api/segment', '/queue/join', '/call/segment', '/call/x', '/upload', '/process_recording']
POSTS += ['/component_server', '/cancel', '/reset', '/vibe-edit', '/login', '/stream/x']


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG, of any size."""
    header = b'IHDR' + struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))


def bomb(width: int, height: int) -> bytes:
    """A whole PNG of zeros."""
    rows = b'IDAT' + zlib.compress(bytes((width // 8 + 1) * height))
    end = struct.pack('>I', zlib.crc32(rows)) + b'\0\0\0\0IEND\xaeB`\x82'
    return png_header(width, height) + struct.pack('>I', len(rows) - 4) + rows + end


BOMBS = st.sampled_from(
    [bomb(4000, 4000), bomb(16_000, 16_000), png_header(2**31 - 1, 2**31 - 1), b'', b'%!PS-Adobe-3']
)
UPLOADS = st.tuples(NAMES | st.sampled_from(['..', 'a/../../x.png', 'a"b.png', '\r\n']), files() | files() | BOMBS)
MARKS = st.sampled_from([{'meta': {'_type': 'gradio.FileData'}}, {}, {'meta': None}, {'meta': {'_type': 'x'}}])
SESSIONS = st.sampled_from(['one\n', 'two', '', '../../x', '\U0001f408' * 9, 'a' * 3000])


class Page:
    """What a client of the page can do."""

    def __init__(self, url: str) -> None:
        self.address = url.removeprefix('http://')

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = 'application/json'):
        """Status and answer, to the end of its stream, which has a heartbeat every 15 seconds."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {'Content-Type': kind})
            answer, lines = connection.getresponse(), []
            with contextlib.suppress(http.client.IncompleteRead):
                for line in answer:
                    lines.append(line)
                    assert sum(b'heartbeat' in line for line in lines) < 4, 'it hangs'
        content = b''.join(lines)
        assert SECRET not in content
        return answer.status, content

    def send(self, path: str, body: object):
        """A POST of JSON; bytes are sent as they are."""
        encoded = body if isinstance(body, bytes) else json.dumps(body, default=str).encode()
        return self.ask('POST', f'/gradio_api{path}', encoded)

    def upload(self, name: str, content: bytes) -> str | None:
        """Path of an uploaded file on the server."""
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n'
        body = head % name.encode('utf-8', 'surrogatepass') + content + b'\r\n--x--\r\n'
        status, answer = self.ask('POST', '/gradio_api/upload', body, 'multipart/form-data; boundary=x')
        return json.loads(answer)[0] if status == 200 and answer != b'[]' else None

    def segment(self, data: object) -> bytes:
        """Events of a request by name."""
        status, answer = self.send('/call/segment', {'data': data})
        return answer if status != 200 else self.ask('GET', f'/gradio_api/call/segment/{event_of(answer)}')[1]


def file_data(path: str | None) -> dict[str, object]:
    return {'path': path or '', 'meta': {'_type': 'gradio.FileData'}}


def event_of(answer: bytes) -> str:
    return json.loads(answer)['event_id']


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """A folder, the page that works in it, and its checkpoint; before and after, the page answers well."""
    folder = tmp_path_factory.mktemp('page')
    checkpoint = str(write_checkpoint(folder))
    with serve_demo(folder, checkpoint) as url:
        page = Page(url)
        for place in (folder, folder / 'work', folder / 'tmp'):
            Image.new('RGB', (40, 30), 'red').save(place / 'secret.png')
            (place / 'secret.txt').write_bytes(SECRET)
        os.mkfifo(folder / 'pipe')  # who opens it waits
        assert_right_mask(page, checkpoint)
        before = kept(folder)
        yield folder, page, checkpoint
        assert_right_mask(page, checkpoint)
        assert kept(folder) == before
        for name in ('secret.png', 'secret.txt'):
            (folder / 'tmp' / name).unlink()


@pytest.mark.parametrize('form', ['call', 'queue'])
def test_what_is_to_be_segmented(server, form):
    folder, page, checkpoint = server
    before, inside = kept(folder), uploads(folder)
    data_url = 'data:image/png;base64,' + base64.b64encode((folder / 'secret.png').read_bytes()).decode()
    paths = st.sampled_from(places(folder, page))
    keys = {'path': paths | st.none(), 'url': st.none() | st.just(data_url) | paths, 'is_stream': st.booleans()}
    named = st.builds(dict.__or__, st.fixed_dictionaries(keys), MARKS)
    right, wrong = st.just('the red circle'), TEXT | THINGS
    requests = st.one_of(
        st.tuples(st.just(checkpoint), UPLOADS, right),
        st.tuples(st.just(checkpoint), UPLOADS, right),
        st.tuples(st.just(checkpoint), UPLOADS, wrong | st.lists(GOOD, max_size=2)),
        st.tuples(wrong, UPLOADS, right),
        st.tuples(st.just(checkpoint), named, right),
        st.tuples(st.just(checkpoint), wrong, right),
        st.lists(wrong, max_size=4),
    )
    seen: Counter[str] = Counter()

    @settings(RULES, max_examples=150, deadline=None, phases=[Phase.generate])
    @given(data=requests, session=SESSIONS, index=st.sampled_from([0, 0, 0, 0, 1, -1, None, 'x']))
    def request(data, session, index):
        session += session and str(seen.total())
        data, uploaded = list(data), len(data) > 1 and isinstance(data[1], tuple)
        if uploaded:
            stored = page.upload(*data[1])
            assert stored is None or stored.startswith(f'{inside}/')
            data[1] = file_data(stored)
        if form == 'call':
            answer = page.segment(data)
        else:
            status, answer = page.send('/queue/join', {'data': data, 'session_hash': session, 'fn_index': index})
            if status == 200 and session:  # nobody hears what a session without a name is told
                _, answer = page.ask('GET', f'/gradio_api/queue/data?session_hash={quote(session)}')
        done = b'event: complete' in answer or b'"success":true' in answer
        assert not done or (uploaded and data[0] == checkpoint)
        seen['answered' if done else 'refused'] += 1
        assert kept(folder) == before

    request()
    assert min(seen['answered'], seen['refused']) > 10


def test_other_requests(server):
    folder, page, checkpoint = server
    before = kept(folder)
    assert page.send('/run/segment', {'data': [checkpoint, None, 'x']})[0] == 404  # it would pass the queue

    @settings(RULES, max_examples=200, deadline=None)
    @given(
        route=st.sampled_from(ROUTES + POSTS),
        path=st.sampled_from(places(folder, page)) | NAMES,
        body=st.binary(max_size=50)
        | st.dictionaries(st.sampled_from(['data', 'session_hash', 'fn_name']), TEXT | THINGS),
    )
    def request(route, path, body):
        if route in POSTS:
            page.send(route, body)
        else:
            page.ask('GET', route + quote(path.encode('utf-8', 'surrogatepass')))
        assert kept(folder) == before

    request()


def uploads(folder):
    """The folder of uploads."""
    return next((folder / 'tmp').glob('mmmagnet_*/gradio'))


def places(folder, page):
    """Files, folders and addresses that the page may not open."""
    local = [f'{place}secret.{end}' for place in (f'{folder}/', '', '../', f'{folder}/tmp/') for end in ('png', 'txt')]
    local += [
        f'{folder}/pipe',
        f'file://{folder}/secret.png',
        '/etc/passwd',
        '../../../../../../etc/passwd',
        '/dev/zero',
    ]
    local += [
        f'{uploads(folder)}/../../secret.png',
        f'{uploads(folder)}',
        f'{uploads(folder)}/none.png',
        '\x00',
        'a' * 5000,
    ]
    return [*local, f'http://{page.address}/favicon.ico', 'https://example.org/x.png', 'ftp://127.0.0.1/x']


def kept(folder):
    """All files but those in the temporary folder of the page."""
    return {name: content for name, content in content_of(folder).items() if '/tmp/mmmagnet_' not in name
            and name != str(folder / 'log')}  # fmt: skip


def assert_right_mask(page: Page, checkpoint: str) -> None:
    """The page answers what the inferencer does."""
    image = Image.fromarray(np.add.outer(np.arange(60), np.arange(80)).astype(np.uint8)).convert('RGB')
    file = io.BytesIO()
    image.save(file, 'PNG')
    stored = page.upload('good.png', file.getvalue())
    answer = page.segment([checkpoint, file_data(stored), 'the red circle'])
    masks, scores, _ = json.loads(answer.split(b'event: complete\ndata: ')[1])
    expected = ReferringInferencer(checkpoint, device='cpu')(image, 'the red circle')
    assert scores['data'] == [
        [
            'the red circle',
            pytest.approx(expected.score, abs=0.01),
            pytest.approx(100 * expected.area_fraction, abs=0.2),
        ]
    ]
    _, drawn = page.ask('GET', f'/gradio_api/file={masks[0]["image"]["path"]}')
    difference = np.asarray(Image.open(io.BytesIO(drawn)).convert('RGB')).astype(int) - expected.draw()
    assert np.abs(difference).mean() < 5  # WebP's


def test_a_file_over_the_limit(server):
    _, page, checkpoint = server
    with contextlib.suppress(ConnectionError):  # the server ends the connection before it has all
        assert page.upload('large.png', bytes(21 * 2**20)) is None
    assert_right_mask(page, checkpoint)
