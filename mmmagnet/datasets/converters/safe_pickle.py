"""Pickles of refs, read by an unpickler that can build nothing but plain values."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from mmmagnet.utils.errors import DataError

from ..refs_io import no_collection

MAX_BYTES = 2**27  # of a file; the largest published set has 35 MB


class _RefusedError(Exception):
    """The file holds more than plain values."""


class _NumpyError(_RefusedError):
    """The file holds numbers of numpy, which a pickle can only build by a call."""


_PYTHON: Any = pickle._Unpickler  # in C, an index of five bytes makes the memo allocate 32 GB; here it is a dict


class _PlainUnpickler(_PYTHON):
    """Python's unpickler without classes, extensions, sets, bytearrays, and keys that are not strings."""

    stack: list[Any]

    def find_class(self, module: str, name: str) -> NoReturn:
        if module.split('.')[0] == 'numpy':
            raise _NumpyError(f'names {module:.60}.{name:.60}')
        raise _RefusedError(f'names {module:.60}.{name:.60}')

    def get_extension(self, code: int) -> NoReturn:
        raise _RefusedError(f'names extension {code}')

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _RefusedError('names a persistent object')

    def _other(self) -> NoReturn:
        raise _RefusedError('holds a set, a bytearray or a buffer')

    def _check(self, keys: list[Any]) -> None:
        if not all(type(key) is str for key in keys):  # hashing tuples in tuples overflows the stack
            raise _RefusedError('has keys that are not strings')

    def _set_item(self) -> None:
        self._check(self.stack[-2:-1])
        _PYTHON.load_setitem(self)

    def _set_items(self) -> None:
        self._check(self.stack[::2])
        _PYTHON.load_setitems(self)

    def _make_dict(self) -> None:
        self._check(self.stack[::2])
        _PYTHON.load_dict(self)

    dispatch: ClassVar[dict[int, Any]] = {
        **_PYTHON.dispatch,
        **dict.fromkeys(b'\x8f\x90\x91\x96\x97\x98', _other),
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _make_dict,
    }


def load_refs(path: Path) -> list[dict[str, Any]]:
    """Read a REFER pickle of any protocol without letting it run anything. Strings of Python 2 are read as UTF-8.

    Args:
        path: ``refs(<split_by>).p``.

    Returns:
        The refs, as they are in the file.

    Raises:
        DataError: If the file cannot be read, is damaged or too large, names a class, or is no list of dicts.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _RefusedError(f'has more than {MAX_BYTES} bytes')
        data = io.BytesIO(path.read_bytes())  # a file would allocate any length that is declared
        with no_collection():
            refs = _PlainUnpickler(data, encoding='utf-8').load()
    except _NumpyError as error:
        raise DataError(
            f"{path}: refused: it {error}: its numbers are numpy's. Published files have none, so it was made by "
            f"somebody's own code: where that is you, write it again without them, by json.dump(refs, "
            f"open({path.with_suffix('.json').name!r}, 'w'), default=lambda value: value.tolist()), and remove this one"
        ) from error
    except _RefusedError as error:
        raise DataError(
            f'{path}: refused: it {error}; a file of refs holds only numbers, strings, lists and dicts: download it '
            'again, or write your own of plain values'
        ) from error
    except OSError as error:
        raise DataError(f'{path}: cannot be read ({error.strerror}): check the file') from error
    except (Exception, RecursionError, MemoryError) as error:  # an unpickler raises any of them on damaged bytes
        raise DataError(
            f'{path}: not a whole pickle ({type(error).__name__}: {error!s:.80}): download it again'
        ) from error
    if not isinstance(refs, list) or not refs or not all(type(ref) is dict for ref in refs):
        raise DataError(f'{path}: not a list of refs: download it again')
    return refs
