"""The code blocks of the README and the docs, and what their comments say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
BLOCK = re.compile(
    r'(?:^<!-- (?P<comment>[^\n]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page, relative to the project.
        line: Of its first line of code, from 1.
        language: Such as python or bash.
        code: Its lines.
        comment: Text of the HTML comment before it; empty if there is none.
    """

    page: str
    line: int
    language: str
    code: str
    comment: str

    @property
    def name(self) -> str:
        """Page and line."""
        return f'{self.page}:{self.line}'

    @property
    def runs(self) -> bool:
        """Whether the block runs as it stands."""
        return not self.comment


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding='utf-8')
    return [
        Block(
            page=page.relative_to(ROOT).as_posix(),
            line=text.count('\n', 0, found.start('code')) + 1,
            language=found['language'],
            code=found['code'],
            comment=found['comment'] or '',
        )
        for found in BLOCK.finditer(text)
    ]


def code_blocks() -> list[Block]:
    """All shell and Python blocks."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in ('bash', 'python')]


def block_with(page: str, words: str) -> str:
    """The code of the one block of a page that contains some words."""
    (found,) = [block.code for block in blocks_of(ROOT / page) if words in block.code]
    return found
