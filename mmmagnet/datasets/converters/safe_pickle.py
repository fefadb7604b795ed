"""Pickles that hold nothing but plain values, read by a machine that can build nothing else.

A pickle is a program. Python's own unpickler runs all of it, with hooks to forbid some; here only the instructions that
numbers, strings, lists, tuples and dicts need exist at all. What a damaged or hostile file may cost is bounded, too:
nothing is allocated for a declared length that the file does not hold, only strings are keys (others can be made to
collide, or to nest until hashing them overflows the stack), and what is shared counts as often as it is referred to.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mmmagnet.utils.errors import DataError

from ..refs_io import no_collection

# a set of RefCOCO's size is 21 to 35 MB and 6.5 million instructions, by protocol, and its values nest five deep
MAX_BYTES = 2**28
MAX_INSTRUCTIONS = 30_000_000
MAX_WRITTEN = 2**30  # characters and entries, were everything written out
MAX_DEPTH = 32  # of lists, tuples and dicts in each other
_MAX_DIGITS = 1000  # of a number
_CONTAINERS = (list, tuple, dict)


class _RefusedError(Exception):
    """The file asks for more than plain values, or for too much of them."""


class _DamagedError(Exception):
    """The bytes are no whole pickle."""


def load_refs(path: Path) -> list[dict[str, Any]]:
    """Read a REFER pickle without letting it run anything.

    Args:
        path: ``refs(<split_by>).p``.

    Returns:
        The refs, as they are in the file.

    Raises:
        DataError: If the file is damaged or too large, asks for any class, or is no list of dicts.
    """
    refs = load_plain(path)
    if not isinstance(refs, list) or not all(type(ref) is dict for ref in refs):
        raise DataError(f'{path}: not a list of refs; download it again')
    if not refs:
        raise DataError(f'{path}: the list of refs is empty; download it again')
    return refs


def load_plain(path: Path) -> Any:
    """Read a pickle, of any protocol, of None, numbers, strings, bytes, lists, tuples and dicts with strings as keys.

    Strings of Python 2 are read as UTF-8.

    Raises:
        DataError: If the file cannot be read, is damaged, or holds anything else or more than the limits above.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _RefusedError(f'it has {size} bytes, more than {MAX_BYTES}')
        with no_collection():
            value = _Machine(path.read_bytes()).run()
            _check_written(value)
    except _RefusedError as error:
        raise DataError(
            f'{path}: refused: {error}; a file of refs holds only numbers, strings, lists and dicts: download it again'
        ) from error
    except _DamagedError as error:
        raise DataError(f'{path}: not a whole pickle ({error}); download it again') from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror})') from error
    return value


class _Machine:
    """Runs the instructions of a pickle.

    Args:
        data: The file.
    """

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)
        self.read = self._file.read
        self.stack: list[Any] = []
        self._marks: list[int] = []  # lengths of the stack
        self._memo: dict[int, Any] = {}  # no list: its length would be what the file says

    def run(self) -> Any:
        """The value of the pickle."""
        read, instructions = self.read, _INSTRUCTIONS
        try:
            for _ in range(MAX_INSTRUCTIONS):
                code = read(1)
                if code == b'.':
                    (value,) = self.stack
                    return value
                if code not in instructions:
                    self._refuse(code)
                instructions[code](self)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise _DamagedError(f'{type(error).__name__} before byte {self._file.tell()}: {error}') from error
        raise _RefusedError(f'it has more than {MAX_INSTRUCTIONS} instructions')

    def _refuse(self, code: bytes) -> NoReturn:
        names = {known.code.encode('latin-1'): known.name for known in pickletools.opcodes}
        if code not in names:
            raise ValueError(f'{code!r} is no instruction' if code else 'it ends early')
        if names[code] in ('GLOBAL', 'INST'):
            raise _RefusedError(f'it asks for {self.line(100).decode("latin-1")}.{self.line(100).decode("latin-1")}')
        raise _RefusedError(f'it asks for {names[code]}')

    def take(self, length: int) -> bytes:
        """The next bytes."""
        part = self.read(length) if length >= 0 else b''
        if len(part) != length:
            raise ValueError(f'{length} bytes are declared, {len(part)} are there')
        return part

    def number(self, form: struct.Struct) -> Any:
        """The next number."""
        return form.unpack(self.take(form.size))[0]

    def line(self, limit: int = MAX_BYTES) -> bytes:
        """The rest of the line, its end taken off."""
        line = self._file.readline(limit)
        if line[-1:] != b'\n':
            raise ValueError(f'a line does not end within {limit} bytes' if len(line) == limit else 'it ends early')
        return line[:-1]

    def mark(self) -> None:
        """Remember how high the stack is."""
        self._marks.append(len(self.stack))

    def pop(self, number: int | None = None) -> list[Any]:
        """Take that many values off the stack, or all since the last mark."""
        at = self._marks.pop() if number is None else len(self.stack) - number
        if not 0 <= at <= len(self.stack):
            raise IndexError(f'{number or 0} values are needed')
        values = self.stack[at:]
        del self.stack[at:]
        return values

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise ValueError(f'entries for a {type(self.stack[-1]).__name__}')
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        """Set keys and values of the dict on top of the stack."""
        keys = values[::2]
        if type(self.stack[-1]) is not dict or len(values) % 2:
            raise ValueError(f'{len(values)} keys and values for a {type(self.stack[-1]).__name__}')
        for key in keys:
            if type(key) is not str:
                raise _RefusedError(f'a key of a dict is a {type(key).__name__}')
        self.stack[-1].update(zip(keys, values[1::2], strict=True))

    def push_dict(self) -> None:
        """A dict of what lies above the last mark."""
        values = self.pop()
        self.stack.append({})
        self.update(values)

    def remember(self, key: int) -> None:
        """Give the top of the stack a number."""
        self._memo[key] = self.stack[-1]

    def memoize(self) -> None:
        """Give the top of the stack the next number."""
        self._memo[len(self._memo)] = self.stack[-1]

    def recall(self, key: int) -> None:
        """Push what has this number."""
        self.stack.append(self._memo[key])


def _decimal(machine: _Machine) -> int:
    return int(machine.line(_MAX_DIGITS).removesuffix(b'L'))


def _decimal_or_bool(machine: _Machine) -> int:
    line = machine.line(_MAX_DIGITS)
    return line == b'01' if line in (b'00', b'01') else int(line)


def _long(machine: _Machine, form: struct.Struct) -> int:
    length = machine.number(form)
    if length > _MAX_DIGITS // 4:
        raise _RefusedError(f'it holds a number of {length} bytes')
    return int.from_bytes(machine.take(length), 'little', signed=True)


def _quoted(machine: _Machine) -> str:
    line = machine.line().strip()
    if len(line) < 2 or line[:1] not in (b'"', b"'") or line[0] != line[-1]:
        raise ValueError('a string is not in quotes')
    return codecs.escape_decode(line[1:-1])[0].decode()


def _escaped(machine: _Machine) -> str:
    # Python 2 may have written a character as two surrogates
    return machine.line().decode('raw-unicode-escape').encode('utf-16', 'surrogatepass').decode('utf-16')


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def instruction(machine: _Machine) -> None:
        machine.stack.append(make(machine))

    return instruction


_BYTE, _SHORT, _SIGNED, _UNSIGNED, _WIDE, _DOUBLE = map(struct.Struct, ('<B', '<H', '<i', '<I', '<Q', '>d'))
_INSTRUCTIONS: dict[bytes, Callable[[_Machine], Any]] = {
    b'\x80': lambda machine: machine.take(1),  # protocol
    b'\x95': lambda machine: machine.take(8),  # how much to read ahead
    b'(': _Machine.mark,
    b'p': lambda machine: machine.remember(_decimal(machine)),
    b'q': lambda machine: machine.remember(machine.number(_BYTE)),
    b'r': lambda machine: machine.remember(machine.number(_UNSIGNED)),
    b'\x94': _Machine.memoize,
    b'g': lambda machine: machine.recall(_decimal(machine)),
    b'h': lambda machine: machine.recall(machine.number(_BYTE)),
    b'j': lambda machine: machine.recall(machine.number(_UNSIGNED)),
    b'N': _push(lambda machine: None),
    b'\x88': _push(lambda machine: True),
    b'\x89': _push(lambda machine: False),
    b'I': _push(_decimal_or_bool),
    b'L': _push(_decimal),
    b'F': _push(lambda machine: float(machine.line(_MAX_DIGITS))),
    b'K': _push(lambda machine: machine.number(_BYTE)),
    b'M': _push(lambda machine: machine.number(_SHORT)),
    b'J': _push(lambda machine: machine.number(_SIGNED)),
    b'G': _push(lambda machine: machine.number(_DOUBLE)),
    b'\x8a': _push(lambda machine: _long(machine, _BYTE)),
    b'\x8b': _push(lambda machine: _long(machine, _SIGNED)),
    b'S': _push(_quoted),
    b'V': _push(_escaped),
    b'U': _push(lambda machine: machine.take(machine.number(_BYTE)).decode()),
    b'T': _push(lambda machine: machine.take(machine.number(_SIGNED)).decode()),
    b'X': _push(lambda machine: machine.take(machine.number(_UNSIGNED)).decode()),
    b'\x8c': _push(lambda machine: machine.take(machine.number(_BYTE)).decode()),
    b'\x8d': _push(lambda machine: machine.take(machine.number(_WIDE)).decode()),
    b'C': _push(lambda machine: machine.take(machine.number(_BYTE))),
    b'B': _push(lambda machine: machine.take(machine.number(_UNSIGNED))),
    b'\x8e': _push(lambda machine: machine.take(machine.number(_WIDE))),
    b']': _push(lambda machine: []),
    b'l': _push(_Machine.pop),
    b'a': lambda machine: machine.extend(machine.pop(1)),
    b'e': lambda machine: machine.extend(machine.pop()),
    b'}': _push(lambda machine: {}),
    b'd': _Machine.push_dict,
    b's': lambda machine: machine.update(machine.pop(2)),
    b'u': lambda machine: machine.update(machine.pop()),
    b')': _push(lambda machine: ()),
    b't': _push(lambda machine: tuple(machine.pop())),
    b'\x85': _push(lambda machine: tuple(machine.pop(1))),
    b'\x86': _push(lambda machine: tuple(machine.pop(2))),
    b'\x87': _push(lambda machine: tuple(machine.pop(3))),
}


def _check_written(value: Any) -> None:
    """Refuse what is nested too deeply, or too large once every reference to a shared value counts."""
    level: dict[int, tuple[Any, int]] = {0: ((value,), 1)}  # what lies this deep, and how often, by identity
    written = 0
    for _ in range(MAX_DEPTH + 1):
        deeper: dict[int, tuple[Any, int]] = {}
        for container, times in level.values():
            entries = [*container, *container.values()] if type(container) is dict else container
            written += times * (len(entries) + sum(len(entry) for entry in entries if type(entry) in (str, bytes)))
            for entry in entries:
                if type(entry) in _CONTAINERS:
                    deeper[id(entry)] = entry, times + (deeper[id(entry)][1] if id(entry) in deeper else 0)
        if written > MAX_WRITTEN:
            raise _RefusedError(f'it would have more than {MAX_WRITTEN} characters written out')
        if not deeper:
            return
        level = deeper
    raise _RefusedError(f'it is nested more than {MAX_DEPTH} deep')
