"""The arrays of a large JSON file, element by element."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

PIECE = 2**20  # bytes

_decode = json.JSONDecoder(parse_float=str).raw_decode  # outlines are full of them, and half the time goes there
_blank = re.compile(r'[ \t\n\r]*')


def array_elements(path: Path, names: Sequence[str]) -> Iterator[tuple[str, int, int, Any]]:
    """Elements of some arrays of a JSON object, each with its array's name, its first byte and its number of bytes.

    Only a piece of the file is in memory. Numbers with a point or exponent come out as text, and characters beyond
    ASCII as others: who needs them reads the element from its place.

    Args:
        path: File with a JSON object in UTF-8.
        names: Fields of the object that hold the arrays.

    Raises:
        KeyError: If the object lacks an array.
        ValueError: If the file is not such an object.
        OSError: If the file cannot be read.
    """
    missing = list(names)
    with path.open('rb') as file:
        text = _Text(file)
        for _ in text.members('{', '}'):
            name, _, _ = text.value()
            if not isinstance(name, str):
                raise ValueError(f'{name!r:.60} is no name of a field')
            text.take(':')
            if name not in names:
                text.value()
                continue
            if name not in missing:
                raise ValueError(f'there are several {name}')
            missing.remove(name)
            for _ in text.members('[', ']'):
                element, first, size = text.value()
                yield name, first, size, element
        if text.next_character():
            raise ValueError('something follows its end')
    if missing:
        raise KeyError(missing[0])


class _Text:
    """A piece of a file, a character for each byte, and a place in it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.utf8 = codecs.getincrementaldecoder('utf-8')()
        self.text = ''
        self.start = 0  # place of the piece in the file
        self.at = 0  # place in the piece

    def members(self, opening: str, closing: str) -> Iterator[None]:
        """Stop at each member of an object or array."""
        self.take(opening)
        if self.next_character() == closing:
            self.take(closing)
            return
        while True:
            yield
            if self.take(',' + closing) == closing:
                return

    def value(self) -> tuple[Any, int, int]:
        """The value that follows, its first byte and its number of bytes."""
        self.next_character()
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if self.read_on():
                    continue
                raise ValueError(f'{error.msg} at byte {self.start + error.pos}') from None
            if end > len(self.text) - 3 and self.read_on():  # a number may go on, as 1 does with e+2
                continue
            first, size = self.start + self.at, end - self.at
            self.at = end
            return value, first, size

    def take(self, allowed: str) -> str:
        """Go past the character that follows, one of `allowed`."""
        found = self.next_character()
        if not found or found not in allowed:
            raise ValueError(f'Expecting one of {allowed} at byte {self.start + self.at}')
        self.at += 1
        return found

    def next_character(self) -> str:
        """The character after the blanks that follow; empty at the end of the file."""
        while True:
            self.at = _blank.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.read_on():
                return ''

    def read_on(self) -> bool:
        """Drop what is behind, and read at least as much as is left; False at the end of the file."""
        piece = self.file.read(max(PIECE, len(self.text) - self.at))
        self.utf8.decode(piece, final=not piece)
        if piece:
            self.text = self.text[self.at :] + piece.decode('latin-1')
            self.start += self.at
            self.at = 0
        return bool(piece)
