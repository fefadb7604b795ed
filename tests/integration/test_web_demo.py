"""The page in a real browser: upload, type, click; and requests that it refuses."""

import shutil

import numpy as np
import pytest
from demo_server import serve_demo
from PIL import Image
from trained import write_checkpoint

BROWSER = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-sync']

MODEL: list[str] = []  # the checkpoint that the page runs on

pytest.importorskip('gradio')


@pytest.fixture(scope='module')
def page_url(tmp_path_factory):
    """The demo of a tiny checkpoint, with an example."""
    folder = tmp_path_factory.mktemp('demo')
    (folder / 'images').mkdir()
    Image.new('RGB', (60, 50), 'red').save(folder / 'images' / 'red.png')
    MODEL[:] = [str(write_checkpoint(folder))]
    with serve_demo(folder, *MODEL, '--examples', str(folder / 'images')) as url:
        yield url


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
        page.locator('.tr-body').first.click()  # the example
        page.wait_for_function(
            "document.querySelector('#expressions textarea').value == 'the red circle'", timeout=60_000
        )
        page.click('#segment')
        page.wait_for_function("!document.querySelector('#scores').innerText.includes('the square')", timeout=60_000)
        browser.close()


@pytest.mark.parametrize(
    ('text', 'message'),
    [('', 'type what to segment'), ('a\n' * 11, 'at most 10 expressions'), ('a' * 3000, 'at most 10 expressions')],
)
def test_refused_text(client, picture, text, message):
    from gradio_client import handle_file

    with pytest.raises(Exception, match=message):
        client.predict(MODEL[0], handle_file(picture), text, api_name='/segment')


def test_images_that_are_refused(client, picture, tmp_path):
    """By the reader that all of the package uses, in a line with the file's name and without its folder."""
    from gradio_client import handle_file

    (tmp_path / 'text.png').write_text('no image')
    (tmp_path / 'program.png').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n')
    Image.new('I;16', (9, 9)).save(tmp_path / 'deep.png')
    (tmp_path / 'half.png').write_bytes(picture.read_bytes()[:200])
    cases = {
        'text.png': 'not a whole image',
        'half.png': 'not a whole image',
        'program.png': 'is EPS',
        'deep.png': 'more than 8 bits',
    }
    for name, message in cases.items():
        with pytest.raises(Exception, match=f'^{name}: .*{message}'):
            client.predict(MODEL[0], handle_file(tmp_path / name), 'the circle', api_name='/segment')


def test_transparency_is_white(client, tmp_path):
    from gradio_client import handle_file

    Image.new('RGBA', (40, 30), (255, 0, 0, 0)).save(tmp_path / 'clear.png')
    masks, _, _ = client.predict(MODEL[0], handle_file(tmp_path / 'clear.png'), 'the circle', api_name='/segment')
    shown = np.asarray(Image.open(masks[0]['image']).convert('RGB'))
    assert shown[..., 1:].mean() > 100  # white under whatever mask, where red has 0


def test_a_model_that_is_not_offered(client, picture):
    from gradio_client import handle_file

    with pytest.raises(Exception, match='choose one'):
        client.predict('/etc/passwd', handle_file(picture), 'the circle', api_name='/segment')
