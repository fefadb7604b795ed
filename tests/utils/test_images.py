"""Images of every kind are read right, or refused in one line that names them."""

from __future__ import annotations

import http.server
import io
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmagnet.utils import images
from mmmagnet.utils.errors import DataError
from mmmagnet.utils.images import image_files, read_image

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
TURN = {0x0112: 6}


def exif(tags: dict[int, int]) -> Image.Exif:
    made = Image.Exif()
    made.update(tags)
    return made


def palette() -> Image.Image:
    """Colours 0 (transparent) and 1 (red)."""
    image = Image.new('P', (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    return image


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    chunk = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    checked = struct.pack('>I', 13) + chunk + struct.pack('>I', zlib.crc32(chunk))
    return b'\x89PNG\r\n\x1a\n' + checked + struct.pack('>I', 9) + b'IDAT'


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


RGB = Image.fromarray(PIXELS)
READ = {
    'png': ('a.png', RGB, {}, PIXELS),
    'grey': ('a.png', Image.new('L', (2, 1), 7), {}, np.full((1, 2, 3), 7)),
    'black and white': ('a.png', Image.new('1', (2, 1), 1), {}, np.full((1, 2, 3), 255)),
    'cmyk': ('a.jpg', Image.new('CMYK', (8, 8), (0, 255, 255, 0)), {}, np.tile([254, 0, 0], (8, 8, 1))),
    'palette with transparency': ('a.png', palette(), {'transparency': 0}, np.array([[[255] * 3, [255, 0, 0]]])),
    'transparent': ('a.png', Image.new('RGBA', (1, 1), (0, 0, 0, 0)), {}, np.full((1, 1, 3), 255)),
    'turned by exif': ('a.png', RGB, {'exif': exif(TURN)}, np.rot90(PIXELS, -1)),
    'one pixel': ('a.bmp', Image.new('RGB', (1, 1), (1, 2, 3)), {}, np.array([[[1, 2, 3]]])),
    'very wide': ('a.png', Image.new('RGB', (20_000, 10), (1, 2, 3)), {}, np.tile([1, 2, 3], (10, 20_000, 1))),
    'odd name': ('[*] café \U0001f408 שלום\n.png', RGB, {}, PIXELS),
}


@pytest.mark.parametrize('kind', READ)
def test_read(kind, tmp_path):
    name, image, options, expected = READ[kind]
    found = read_image(saved(tmp_path / name, image, **options))
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (2 if kind == 'cmyk' else 0)
    if kind != 'turned by exif':  # which is of the file
        image.info.update(options)
        assert np.array_equal(found, read_image(image)) or kind == 'cmyk'


def test_arrays_and_several_frames(tmp_path):
    assert read_image(PIXELS) is PIXELS
    path = saved(tmp_path / 'a.gif', Image.new('L', (4, 4), 9), save_all=True, append_images=[Image.new('L', (4, 4))])
    with pytest.warns(UserWarning, match=r'a\.gif: has several frames'):
        assert (read_image(path) == 9).all()


def whole() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.tile(PIXELS, (9, 9, 1))).save(file, 'PNG')
    return file.getvalue()


REFUSED = {
    'empty': (b'', 'not a whole image'),
    'text': (b'no image', 'not a whole image'),
    'truncated': (whole()[:-100], 'not a whole image'),
    'cut in its header': (whole()[:20], 'not a whole image'),
    'of no size': (png_header(0, 5), 'not a whole image'),
    'a bomb': (png_header(20_000, 20_000), 'is too large|in all'),
    'large': (png_header(10_000, 9_000), r'10000 x 9000 pixels; give 1 to \d+ in all'),
    'long': (png_header(40_000, 10), r'40000 x 10 pixels; give .* at most 32766 a side'),
    'eps': (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', 'is EPS; convert it'),
}


@pytest.mark.parametrize('kind', REFUSED)
@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_refused(kind, tmp_path):
    content, message = REFUSED[kind]
    path = tmp_path / 'a.png'
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf'a\.png: .*(?:{message})') as error:
        read_image(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('mode', ['I', 'I;16', 'F'])
def test_more_than_8_bits(mode, tmp_path):
    path = saved(tmp_path / 'deep.tif', Image.new(mode, (4, 4)))
    with pytest.raises(DataError, match=r'deep\.tif: has more than 8 bits'):
        read_image(path)


@pytest.mark.parametrize(
    'image',
    [PIXELS[..., 0], PIXELS / 255, PIXELS[:0], np.zeros((1, 40_000, 3), np.uint8), 5, None, b'a.png', [PIXELS]],
    ids=lambda image: type(image).__name__,
)
def test_what_is_no_image(image):
    with pytest.raises(DataError, match='image '):
        read_image(image)


@pytest.mark.parametrize('name', ['none.png', '', '.', 'a' * 5000, 'a\0.png', '\ud800.png'])
def test_no_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (name, Path(name)):
        with pytest.raises(FileNotFoundError, match='no such image file'):
            read_image(given)


def test_folder(tmp_path):
    for name in ('b.JPG', 'a.png', 'c.txt', '[x].webp'):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ['[x].webp', 'a.png', 'b.JPG']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='empty: has no image'):
        image_files(tmp_path / 'empty')


@pytest.fixture(scope='module')
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if 'missing' in self.path else 200)
            self.end_headers()
            self.wfile.write(b'x' * 5000 if 'large' in self.path else whole())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{serving.server_port}'
        serving.shutdown()


def test_address(server, monkeypatch):
    assert read_image(f'{server}/a.png').shape == (54, 81, 3)
    monkeypatch.setattr(images, 'MAX_BYTES', len(whole()))
    for address, message in (
        (f'{server}/missing.png', 'cannot be downloaded .*404'),
        (f'{server}/large.png', 'over .* bytes'),
        ('http://127.0.0.1:1/a.png', 'cannot be downloaded'),
        ('http://', 'cannot be downloaded'),
        ('https://[a b]/\n', 'cannot be downloaded'),
    ):
        with pytest.raises(DataError, match=message):
            read_image(address)
