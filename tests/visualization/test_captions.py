"""Captions of any script, length and width are drawn, and inside their strip."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageFont

from mmmagnet.visualization import captions
from mmmagnet.visualization.captions import PAPER, text_strip

SCRIPTS = {
    'empty': '',
    'short': 'the left one',
    'words': 'a b ' * 300,
    'one word': 'x' * 2000,
    'chinese': '\u7ea2\u8272\u7684\u5706',
    'cyrillic': '\u043a\u0440\u0443\u0433',
    'hebrew': '\u05d0\u05d1',
    'emoji': '\U0001f600 \u200d',
    'control characters': 'two\nlines\t\x00',
}


@pytest.mark.parametrize('text', SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize('width', [16, 240])
def test_any_text(text, width):
    strip = text_strip(text, width, 15)
    assert strip.shape[1:] == (width, 3)
    assert bool((strip != PAPER).any()) == bool(text)


def test_long_text_wraps_and_stays_inside():
    once, often = text_strip('word', 240, 15), text_strip('word ' * 60, 240, 15)
    assert often.shape[0] > 5 * once.shape[0]
    assert (often[:, -2:] == PAPER).all()


def test_font_of_the_computer_where_dejavu_lacks_letters(monkeypatch):
    letters = {'dejavu': frozenset(b'ab'), 'some.ttf': frozenset(b'a'), 'cjk.ttc': frozenset(b'az')}
    monkeypatch.setattr('matplotlib.font_manager.findSystemFonts', lambda: ['some.ttf', 'cjk.ttc'])
    monkeypatch.setattr(captions, '_letters_of', lambda file: letters.get(file, letters['dejavu']))
    captions._font_file.cache_clear()
    files = [captions._font_file(frozenset(text)) for text in (b'ab', b'az', b'q')]
    captions._font_file.cache_clear()
    assert [file.rpartition('/')[2] for file in files] == ['DejaVuSans.ttf', 'cjk.ttc', 'DejaVuSans.ttf']


def test_fonts_may_be_lacking(monkeypatch):
    def lacking(*args: object, **kwargs: object) -> None:
        raise OSError('no such font')

    monkeypatch.setattr(ImageFont, 'truetype', lacking)
    monkeypatch.setattr(ImageFont, 'load_default', lambda size: ImageFont.load_default_imagefont())
    assert np.any(text_strip('caf\u00e9 \u7ea2\u8272 ' * 20, 240, 15) != PAPER)
