"""An extension of griffe, which reads docstrings for the API pages: our headings as its parser knows them."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Renames `Example:` to `Examples:`, which griffe shows as code, and parts marks such as [P][O], no links."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            text = re.sub(r'^Example:$', 'Examples:', obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r'\[([POAR])\](?=\[)', r'[\1], ', text)
