"""Ids that are text, as refclef has them, made whole numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_WHOLE = re.compile(r'-?(0|[1-9][0-9]{0,17})')
_REFS = {'image_id': 'image', 'ann_id': 'annotation', 'category_id': 'category', 'ref_id': 'ref'}
_INSTANCES = {
    'images': {'id': 'image'},
    'annotations': {'id': 'annotation', 'image_id': 'image', 'category_id': 'category'},
    'categories': {'id': 'category'},
}


def number_ids(refs: list[dict[str, Any]], content: Any) -> None:
    """Replace ids that are text by whole numbers, in place, the same id by the same number.

    ``'17'`` becomes 17. What is no number, as ``'8756_2'``, is numbered after the largest one of its kind, and an
    image or annotation keeps it as ``original_id``.

    Example:
        >>> refs = [{'ref_id': '3', 'ann_id': 'a', 'image_id': 5}]
        >>> number_ids(refs, {'annotations': [{'id': 'a', 'image_id': '5'}]})
        >>> refs
        [{'ref_id': 3, 'ann_id': 0, 'image_id': 5}]

    Args:
        refs: As REFER has them.
        content: COCO instances; what is not of their form is passed over.
    """
    cells = list(_cells(refs, content))
    for kind in dict.fromkeys(kind for kind, holder, key in cells if isinstance(holder[key], str)):
        own = [(holder, key) for each, holder, key in cells if each == kind]
        whole = [value if type(value) is int else _number(value) for value in (holder[key] for holder, key in own)]
        following = max((number for number in whole if number is not None and abs(number) < 2**62), default=-1) + 1
        names: dict[str, int] = {}
        for holder, key in own:
            value = holder[key]
            if isinstance(value, str):
                number = _number(value)
                if number is None:
                    number = names.setdefault(value, max(following, 0) + len(names))
                    if key == 'id':
                        holder['original_id'] = value
                holder[key] = number


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and _WHOLE.fullmatch(value) else None


def _cells(refs: list[dict[str, Any]], content: Any) -> Iterator[tuple[str, Any, Any]]:
    """Kind, holder and key of every id, each once: a pickle may hold one list many times."""
    seen: set[int] = set()
    tables = [(content.get(name), fields) for name, fields in _INSTANCES.items()] if isinstance(content, dict) else []
    for records, fields in [*tables, (refs, _REFS)]:
        for record in records if isinstance(records, list) else []:
            if not isinstance(record, dict) or id(record) in seen:
                continue
            seen.add(id(record))
            for key, kind in fields.items():
                value = record.get(key)
                if not isinstance(value, list):
                    yield from [(kind, record, key)] if key in record else []
                elif id(value) not in seen:
                    seen.add(id(value))
                    yield from ((kind, value, index) for index in range(len(value)))
            sentences = record.get('sentences')
            if fields is _REFS and isinstance(sentences, list) and id(sentences) not in seen:
                seen.add(id(sentences))
                for sentence in sentences:
                    if isinstance(sentence, dict) and 'sent_id' in sentence and id(sentence) not in seen:
                        seen.add(id(sentence))
                        yield 'sentence', sentence, 'sent_id'
