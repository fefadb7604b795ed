"""A hub on 127.0.0.1, as `huggingface_hub` asks for it: large files at an address of their own, and from any byte."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

from mmmagnet.utils.io import file_sha256

COMMIT = 'c0ffee' + 34 * '0'
BLOCK = 1 << 16


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        files: ``owner/repository/file`` -> file. Those of ``.pth`` are large: they are redirected to the address of
            their content.
        breaks_after: Bytes of content after which an answer ends; None sends all.
        asked: Method, path and first byte of each request.
    """

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files = files
        self.breaks_after: int | None = None
        self.asked: list[tuple[str, str, int]] = []

    @property
    def url(self) -> str:
        """Its address, for ``HF_ENDPOINT``."""
        return f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        begin = int(re.sub(r'\D', '', self.headers.get('Range', '0')))  # always bytes=N-
        self.server.asked.append((self.command, unquote(self.path), begin))
        name = re.sub('/resolve/main/|/content/', '/', unquote(self.path)).strip('/')
        if name not in self.server.files:
            known = name.startswith('api/') or any(
                file.rpartition('/')[0] == name.rpartition('/')[0] for file in self.server.files
            )
            self.reply(404, {'X-Error-Code': 'EntryNotFound' if known else 'RepoNotFound', 'X-Repo-Commit': COMMIT})
            return
        file = self.server.files[name]
        size, digest = file.stat().st_size, file_sha256(file)
        about = {'ETag': f'"{digest}"', 'X-Repo-Commit': COMMIT, 'Accept-Ranges': 'bytes'}
        if file.suffix == '.pth' and '/resolve/' in self.path:
            place = self.server.url + self.path.replace('/resolve/main/', '/content/')
            linked = {'X-Linked-ETag': f'"{digest}"', 'X-Linked-Size': str(size), 'Location': place}
            self.reply(302, {**about, **linked})
            return
        about['Content-Length'] = str(size - begin)
        if begin:
            about['Content-Range'] = f'bytes {begin}-{size - 1}/{size}'
        self.reply(206 if begin else 200, about)
        if self.command == 'GET':
            self.send(file, begin)

    def reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for field, value in {'Content-Length': '0', **headers}.items():
            self.send_header(field, value)
        self.end_headers()

    def send(self, file: Path, begin: int) -> None:
        left = self.server.breaks_after
        with file.open('rb') as content:
            content.seek(begin)
            while block := content.read(BLOCK if left is None else min(BLOCK, left)):
                self.wfile.write(block)
                left = None if left is None else left - len(block)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(files: dict[str, Path]) -> Iterator[Hub]:
    """A hub that serves files while the block runs."""
    with Hub(files) as hub:
        Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()
