"""Mutations of files: of the value that a file holds, and of its bytes."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from sources import encode

MARK = '@@here@@'  # where raw text or instructions are put in
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -1e308, 1e308, float('nan'), float('inf'),
    '', ' ', 'train', 'val', '10', '\0', '\ud800', '\u202e\x1b[2J\n', '\u200b', 'a ' * 5000, '../../../etc/passwd',
    '/etc', 'CON', [], {}, [[]], [None], [1, 2, 3], [1e9, 0, 0, 1e9, 1e9, 1e9], [[1e9, 0, 0, 1e9, 1e9, 1e9]], [[1, 1]],
    [[float('nan')] * 6], [['1'] * 6], {'size': [6, 8], 'counts': [48]}, {'size': [6, 8], 'counts': [0, 48]},
    {'size': [6, 8], 'counts': 'o' * 3000}, {'size': [6, 8], 'counts': '\xff\xff'}, {'size': [6, 8], 'counts': -1},
    {'size': [2**40, 2**40], 'counts': [2**80]}, {'size': None, 'counts': None}, {'counts': '0'}, MARK, MARK, MARK,
]  # fmt: skip
NAMES = ['id', 'segmentation', 'ann_ids', 'exist', 'original_id', 'x', '\ud800']


def raw_json(rng: random.Random) -> str:
    depth = rng.choice([10, 300, 900, 990, 5000, 100_000])
    nested = ['[' * depth + ']' * depth, '{"a":' * depth + '1' + '}' * depth]
    return rng.choice([*nested, '9' * 5000, '1e999', '-0', 'NaN'])


def raw_instructions(rng: random.Random) -> bytes:
    """What an ordinary pickler would not write."""
    depth = rng.choice([3, 30, 500, 100_000])
    call = b'X\x04\0\0\0true\x85R'
    return rng.choice([
        b']' * depth + b'a' * (depth - 1), b')' + b'\x85' * depth, b'}' * depth + b'Ns' * (depth - 1),
        b'})' + b'\x85' * depth + b'Ns', b'cos\nsystem\n' + call, b'cbuiltins\neval\n' + call,
        b'X\x02\0\0\0osX\x06\0\0\0system\x93' + call, b'(X\x04\0\0\0trueios\nsystem\n',
        b'(cos\nsystem\nX\x04\0\0\0trueo', b'ccollections\nOrderedDict\n)\x81}b', b'\x82\x01' + call, b'Pid\n', b'NQ',
        b'\x8f(K\x01\x90', b'\x96' + b'\xff' * 6 + b'\0\0', b'\x97\x98', b'X\xff\xff\xff\x7f', b'\x8b\xff\xff\xff\x7f',
        b'r\xff\xff\xff\x7f', b']q\x07' + b'h\x07a' * 3, b'I' + b'9' * 5000 + b'\n',
    ])  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key."""
    for key in range(len(value)) if isinstance(value, list) else value:
        yield value, key
        if isinstance(value[key], (list, dict)):
            yield from places(value[key])


def mutate_value(value: Any, rng: random.Random) -> None:
    """Change one place, in place."""
    found = list(places(value))
    if not found:
        return
    container, key = rng.choice(found)
    action = rng.randrange(6)
    if action == 0:
        del container[key]
    elif action == 1:  # a value from elsewhere
        other, other_key = rng.choice(found)
        container[key] = copy.deepcopy(other[other_key])
    elif action == 2 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    elif action == 3 and isinstance(container[key], (int, float)) and abs(container[key]) < 1e300:
        container[key] = rng.choice([-container[key], container[key] + 1, container[key] * 10, container[key] / 3])
    elif action == 4 and isinstance(container, dict):
        container[rng.choice(NAMES)] = container.pop(key)
    else:
        container[key] = copy.deepcopy(rng.choice(HOSTILE))


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, or move them."""
    if not data:
        return bytes(rng.randrange(256) for _ in range(5))
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 1, 4, 30, 300]))
    action = rng.randrange(6)
    if action == 0:
        return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
    if action == 1:
        return data[:start]
    if action == 2:
        return data[:start] + data[end:]
    if action == 3:
        return data[:start] + data[start:end] * rng.choice([2, 2, 100]) + data[end:]
    if action == 4:
        at = rng.randrange(len(data))
        return data[:at] + data[start:end] + data[at:]
    put_in = rng.choice([b'\xff' * 4, b'\0', b'[[', b'"', b'(', b'.', b'']) or raw_instructions(rng)
    return data[:start] + put_in + data[end:]


def mark_replaced(data: bytes, rng: random.Random) -> bytes:
    """Pickled, or JSON."""
    if MARK.encode() not in data:
        return data
    for text in (f'V{MARK}\n', f'X\x08\0\0\0{MARK}', f'\x8c\x08{MARK}'):
        data = data.replace(text.encode('latin-1'), raw_instructions(rng))
    return data.replace(f'"{MARK}"'.encode(), raw_json(rng).encode())


def checkpoint_bytes(value: Any, rng: random.Random) -> bytes:
    """A file of `torch.save`, in either of its forms."""
    file, new = io.BytesIO(), io.BytesIO()
    archive = rng.random() < 0.7
    torch.save(value, file, _use_new_zipfile_serialization=archive)
    if not archive:
        return mark_replaced(file.getvalue(), rng)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(new, 'w') as changed:
        for name in old.namelist():
            changed.writestr(name, mark_replaced(old.read(name), rng))
    return new.getvalue()


def file_of(name: str, value: Any, rng: random.Random) -> bytes:
    """A file, as its suffix says; the value of ``.safetensors`` is a header and the bytes after it."""
    suffix = Path(name).suffix
    if suffix == '.pth':
        return checkpoint_bytes(value, rng)
    if suffix == '.safetensors':
        header, numbers = value
        header = json.dumps(header).encode()
        return struct.pack('<Q', len(header)) + header + numbers
    return mark_replaced(encode(name, value, rng.choice([0, 1, 2, 2, 4, 5])), rng)


def mutated(name: str, value: Any, rng: random.Random) -> bytes:
    """A file that holds a changed value, or whose bytes are changed, or both."""
    value = copy.deepcopy(value)
    how = rng.choice(['value', 'value', 'bytes', 'both'])
    inner = value[0] if isinstance(value, tuple) else value
    if isinstance(inner, (list, dict)):
        for _ in range(rng.choice([1, 1, 1, 2, 3]) if how != 'bytes' else 0):
            mutate_value(inner, rng)
    data = file_of(name, value, rng)
    for _ in range(rng.choice([1, 1, 2, 4]) if how != 'value' else 0):
        data = mutate_bytes(data, rng)
    return data
