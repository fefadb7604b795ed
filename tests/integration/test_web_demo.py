"""The page in a real browser: upload, type, click; and requests that it refuses."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import write_checkpoint

ROOT = Path(__file__).parents[2]
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync']

MODEL: list[str] = []  # the checkpoint that the page runs on

pytest.importorskip('gradio')


@pytest.fixture(scope='module')
def page_url(tmp_path_factory):
    """The demo of a tiny checkpoint, at a free port."""
    folder = tmp_path_factory.mktemp('demo')
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        port = taken.getsockname()[1]
    MODEL[:] = [str(write_checkpoint(folder))]
    command = [sys.executable, ROOT / 'tools/web_demo.py', *MODEL, '--port', str(port)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'GRADIO_TEMP_DIR': str(folder / 'cache')}
    with (folder / 'log').open('w') as log:
        process = subprocess.Popen([*command, '--device', 'cpu'], env=environment, stdout=log, stderr=log)
    url = f'http://127.0.0.1:{port}'
    try:
        deadline = time.monotonic() + 180
        while True:
            assert process.poll() is None, (folder / 'log').read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=5)
                break
            assert time.monotonic() < deadline, (folder / 'log').read_text()
            time.sleep(1)
        yield url
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope='module')
def client(page_url):
    """Gradio's own client of the page's function."""
    gradio_client = pytest.importorskip('gradio_client')
    return gradio_client.Client(page_url, verbose=False)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.skipif(BROWSER is None, reason='no Chromium here')
def test_open_type_click(page_url, picture):
    api = pytest.importorskip('playwright.sync_api')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page()
        page.goto(page_url, timeout=120_000)
        page.set_input_files('#image input[type=file]', picture, timeout=60_000)
        page.locator('#image img').wait_for(timeout=60_000)
        assert page.locator('#masks img').count() == 0
        page.fill('#expressions textarea', 'the red circle\nthe square')
        page.click('#segment')
        page.locator('#masks img').first.wait_for(timeout=120_000)
        assert page.locator('#masks img').count() >= 2
        page.locator('#words img').wait_for(timeout=60_000)
        assert 'the square' in page.locator('#scores').inner_text()
        page.fill('#expressions textarea', ' ')
        page.click('#segment')
        page.get_by_text('type what to segment').wait_for(timeout=60_000)
        browser.close()


@pytest.mark.parametrize(
    ('text', 'message'),
    [('', 'type what to segment'), ('a\n' * 11, 'at most 10 expressions'), ('a' * 3000, 'at most 10 expressions')],
)
def test_refused_text(client, picture, text, message):
    from gradio_client import handle_file

    with pytest.raises(Exception, match=message):
        client.predict(MODEL[0], handle_file(picture), text, api_name='/segment')


def test_files_that_are_no_images(client, picture, tmp_path):
    from gradio_client import handle_file

    text, half = tmp_path / 'text.png', tmp_path / 'half.png'
    text.write_text('no image')
    Image.new('RGB', (500, 500)).save(half)
    half.write_bytes(half.read_bytes()[:200])
    for path in (text, half):
        with pytest.raises(Exception):  # noqa: B017
            client.predict(MODEL[0], handle_file(path), 'the circle', api_name='/segment')
    *_, words = client.predict(MODEL[0], handle_file(picture), 'the circle', api_name='/segment')  # it still answers
    assert words


def test_a_model_that_is_not_offered(client, picture):
    from gradio_client import handle_file

    with pytest.raises(Exception, match='choice'):
        client.predict('/etc/passwd', handle_file(picture), 'the circle', api_name='/segment')
