"""Captions: wrapped text in any script on a plain strip."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER = (255, 255, 255)
INK = (28, 30, 34)
GREY = (104, 109, 118)


def text_strip(text: str, width: int, font_size: int, color: tuple[int, int, int] = INK) -> np.ndarray:
    """A white strip with a wrapped text.

    Args:
        text: The text. The strip of an empty one has one line.
        width: Width of the strip W (pixels).
        font_size: Size of the font (pixels).
        color: RGB of the text.

    Returns:
        RGB (H, W, 3) uint8, as high as the text needs.
    """
    font, pad = _font(text, font_size), max(2, font_size // 4)
    lines = _wrap(text, font, width - 2)
    line_height = math.ceil(font_size * 1.3)
    strip = Image.new('RGB', (width, line_height * len(lines) + 2 * pad), PAPER)
    draw = ImageDraw.Draw(strip)
    for index, line in enumerate(lines):
        place = (1, pad + index * line_height)
        try:
            draw.text(place, line, color, font)
        except UnicodeError:  # Pillow's built-in bitmap font knows latin-1 alone
            draw.text(place, line.encode('ascii', 'replace').decode(), color, font)
    return np.asarray(strip)


def _font(text: str, size: int) -> Any:
    """DejaVu Sans, or a font of this computer where the text has letters that DejaVu lacks."""
    letters = frozenset(ord(letter) for letter in text if letter.isprintable() and not letter.isspace())
    try:
        return ImageFont.truetype(_font_file(letters), size)
    except (ImportError, OSError):  # no matplotlib, or a Pillow without FreeType
        return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _font_file(letters: frozenset[int]) -> str:
    """The font file that has the most of these letters; DejaVu Sans, which comes with matplotlib, on a tie."""
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    usual = str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf')
    if letters <= _letters_of(usual):
        return usual
    return max([usual, *sorted(findSystemFonts())], key=lambda file: len(letters & _letters_of(file)))


@lru_cache(maxsize=1024)
def _letters_of(file: str) -> frozenset[int]:
    """The code points a font file has a glyph for; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        ImageFont.truetype(file, 10)
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Break a text into lines of at most `width` pixels, inside a word where the word alone is wider."""

    def fits(line: str) -> bool:
        try:
            return font.getlength(line) <= width
        except UnicodeError:
            return font.getlength('m' * len(line)) <= width

    lines, line = [], ''
    for word in ' '.join(text.split()).split(' '):
        if line and fits(f'{line} {word}'):
            line = f'{line} {word}'
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and not fits(word):
            end = 1
            while fits(word[: end + 1]):
                end += 1
            lines.append(word[:end])
            word = word[end:]
        line = word
    return [*lines, line]
