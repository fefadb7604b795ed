"""tools/web_demo.py as a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def serve_demo(folder: Path, *arguments: str) -> Iterator[str]:
    """Address of the page. The server works in folder/work, and its home and temporary folder are beside that."""
    places = {'HOME': folder / 'home', 'TMPDIR': folder / 'tmp', 'PWD': folder / 'work'}
    for place in places.values():
        place.mkdir()
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    command = [sys.executable, str(ROOT / 'tools/web_demo.py'), *arguments, '--port', str(port), '--device', 'cpu']
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}, 'PYTHONPATH': str(ROOT)}
    environment.pop('GRADIO_TEMP_DIR', None)
    log = folder / 'log'
    with log.open('w') as file:
        process = subprocess.Popen(command, cwd=places['PWD'], env=environment, stdout=file, stderr=file)
    url = f'http://127.0.0.1:{port}'
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, log.read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5).close()
                break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(1)
        yield url
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        status = process.wait(60)
    assert status == 143, log.read_text()[-2000:]
    assert not [path for path in places['TMPDIR'].rglob('*') if path.is_file()]
