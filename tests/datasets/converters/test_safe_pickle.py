"""Pickles of refs: what they hold, what they must not do, what they must not cost."""

import copyreg
import math
import os
import pickle
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmagnet.datasets.converters import safe_pickle
from mmmagnet.datasets.converters.safe_pickle import load_plain, load_refs
from mmmagnet.utils.errors import DataError


class Runs:
    """Pickled as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Built:
    """Pickled as an instance whose state is set by BUILD."""

    def __init__(self):
        self.state = 1


def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def malicious(command):
    """Pickles that would run a command, or build what a file of refs has no need of."""
    call = text(command) + b'\x85R'
    files = {f'reduce, protocol {number}': pickle.dumps([Runs(command)], number) for number in range(6)}
    files |= {f'build, protocol {number}': pickle.dumps([Built()], number) for number in range(6)}
    files |= {
        'global': b'\x80\x02cos\nsystem\n' + call + b'.',
        'stack_global': b'\x80\x04' + text('os') + text('system') + b'\x93' + call + b'.',
        'getattr': b'\x80\x02c__builtin__\ngetattr\n' + text('x') + b'\x85R.',
        'inst': b'(' + text(command) + b'ios\nsystem\n.',
        'obj': b'(cos\nsystem\n' + text(command) + b'o.',
        'newobj': b'\x80\x02cos\nsystem\n' + text(command) + b'\x85\x81.',
        'in a dict': b'\x80\x02]}' + text('split') + b'cos\nsystem\n' + call + b'sa.',
        'persistent id': b'\x80\x02' + text('id') + b'Q.',
        'persistent id, protocol 0': b'Pid\n.',
        'extension': b'\x80\x02\x82\x07' + call + b'.',
        'wide extension': b'\x80\x02\x84' + struct.pack('<i', 7) + call + b'.',
        'harmless class': pickle.dumps([{1, 2}, complex(1, 2)], 2),
        'buffer from outside': b'\x80\x05\x97.',
    }
    return files


NAMES = list(malicious(''))


@pytest.fixture
def extension():
    """A process in which somebody registered os.system, and used it."""
    copyreg.add_extension('posix', 'system', 7)
    pickle.loads(b'\x80\x02\x82\x07.')
    yield
    copyreg.remove_extension('posix', 'system', 7)
    copyreg.clear_extension_cache()


@pytest.mark.parametrize('name', NAMES)
def test_nothing_is_run(name, tmp_path, extension):
    trace = tmp_path / 'trace'
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(malicious(f'touch {trace}')[name])
    with pytest.raises(DataError, match=r'refs\(unc\)\.p: refused: it asks for'):
        load_refs(path)
    assert not trace.exists()


def test_the_pickles_would_run(tmp_path, extension):
    """The cases above are real: without the guard most of them leave their trace."""
    ran = set()
    for name in NAMES:
        trace = tmp_path / f'trace {len(ran)}'
        try:
            pickle.loads(malicious(f'touch "{trace}"')[name])
        except Exception:
            continue
        finally:
            if trace.exists():
                ran.add(name)
    assert {'global', 'stack_global', 'in a dict', 'extension', 'wide extension', 'reduce, protocol 0'} <= ran


@pytest.mark.parametrize('protocol', range(6))
def test_plain_pickles_of_any_protocol(protocol, tmp_path):
    refs = [{'ref_id': 1, 'big': 2**70, 'x': 1.5, 'flag': True, 'none': None, 'said': [{'raw': 'café'}, ('a', 1)]}]
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(pickle.dumps(refs, protocol))
    assert load_refs(path) == refs


def test_strings_of_python_2(tmp_path):
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(b"(lp0\n(dp1\nS'raw'\np2\nS'caf\\xc3\\xa9'\np3\nsa.")
    assert load_refs(path) == [{'raw': 'café'}]


def test_damaged_pickles(tmp_path):
    path = tmp_path / 'refs(unc).p'
    whole = pickle.dumps([{'ref_id': number} for number in range(50)], 2)
    for damaged in (b'', whole[:-1], whole[: len(whole) // 2], b'\x00\x01', b'no pickle', b"(lp0\nS'\xff'\na."):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match='not a whole pickle'):
            load_refs(path)
    for other in ({'a': 1}, ['a'], [[1]], 3, None, []):
        path.write_bytes(pickle.dumps(other))
        with pytest.raises(DataError, match='list of refs'):
            load_refs(path)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.tuples(inner, inner),
    max_leaves=10,
)


def same(left, right):
    """Equality that also tells types apart and holds for NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right or (isinstance(left, float) and math.isnan(left) and math.isnan(right))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_as_the_standard_unpickler(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'plain.p'
    path.write_bytes(pickle.dumps([value, [value]], protocol))
    if any(call in path.read_bytes() for call in (b'c_codecs\n', b'c__builtin__\n')):  # bytes before protocol 3
        with pytest.raises(DataError, match=r'refused: it asks for (_codecs\.encode|__builtin__\.bytes)'):
            load_plain(path)
    else:
        assert same(load_plain(path), pickle.loads(path.read_bytes()))


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(data=st.binary(max_size=60))
def test_any_bytes(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'any.p'
    path.write_bytes(data)
    try:
        load_plain(path)
    except DataError as error:
        assert str(path) in str(error)


def wide(first):
    """Lists of ten of the list before, 15 times over: a few hundred bytes, 10 ** 15 entries."""
    steps = b''.join(
        b'](' + b'h' + bytes([number]) + (b'h' + bytes([number])) * 9 + b'eq' + bytes([number + 1])
        for number in range(15)
    )
    return b'\x80\x02(' + first + b'q\x00' + steps + b'l.'


HOSTILE = {
    'memo index': (b'\x80\x02]r\xff\xff\xff\x7f.', None),
    'decimal memo index': (b']p99999999999999\n.', None),
    'text of 4 GB': (b'X\xff\xff\xff\xffa.', 'not a whole pickle .*4294967295 bytes are declared, 2 are there'),
    'text of exabytes': (b'\x8d' + b'\xff' * 8 + b'a.', 'not a whole pickle'),
    'negative length': (b'T\xff\xff\xff\xffa.', 'not a whole pickle .*-1 bytes are declared'),
    'bytearray': (b'\x96' + b'\xff' * 7 + b'\x00.', 'refused: it asks for BYTEARRAY8'),
    'frame': (b'\x80\x04\x95' + b'\xff' * 8 + b'].', None),
    'number of a megabyte': (b'\x8b' + struct.pack('<i', 2**20) + b'\x7f' * 2**20 + b'.', 'number of 1048576 bytes'),
    'number of 5000 digits': (b'L' + b'9' * 5000 + b'L\n.', 'does not end within 1000 bytes'),
    'lists in lists': (b']' * 50_000 + b'a' * 49_999 + b'.', 'refused: it is nested more than 32 deep'),
    'tuples in tuples': (b')' + b'\x85' * 50_000 + b'.', 'refused: it is nested more than 32 deep'),
    'key of tuples': (b'})' + b'\x85' * 50_000 + b'Ns.', 'refused: a key of a dict is a tuple'),
    'colliding keys': (
        b'}(' + b''.join(pickle.dumps(k * (2**61 - 1), 2)[2:-1] + b'N' for k in range(50)) + b'u.',
        'int',
    ),
    'a list in itself': (b']q\x00h\x00a.', 'refused: it is nested'),
    'many references': (wide(b']'), 'refused: it would have more than'),
    'many references to text': (wide(b'X\x00\x10\x00\x00' + b'a' * 4096), 'refused: it would have more than'),
    'half a character': (b'V\\ud83d\n.', 'not a whole pickle'),
    'no value': (b'.', 'not a whole pickle'),
    'two values': (b'NN.', 'not a whole pickle'),
    'no mark': (b']e.', 'not a whole pickle'),
    'entries for a number': (b'NNa.', 'not a whole pickle .*entries for a NoneType'),
    'odd items': (b'}(Nu.', 'not a whole pickle'),
    'no such memo': (b'h\x07.', 'not a whole pickle'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_cost_little(name, tmp_path):
    data, message = HOSTILE[name]
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(data)
    tracemalloc.start()
    try:
        if message is None:
            load_plain(path)
        else:
            with pytest.raises(DataError, match=message):
                load_plain(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21 + 100 * len(data)


def test_limits_of_size(tmp_path, monkeypatch):
    path = tmp_path / 'refs(unc).p'
    path.touch()
    os.truncate(path, safe_pickle.MAX_BYTES + 1)  # a hole: no bytes on the disk
    with pytest.raises(DataError, match='refused: it has 268435457 bytes, more than 268435456'):
        load_plain(path)
    path.write_bytes(pickle.dumps(list(range(100)), 2))
    monkeypatch.setattr(safe_pickle, 'MAX_INSTRUCTIONS', 50)
    with pytest.raises(DataError, match='refused: it has more than 50 instructions'):
        load_plain(path)


def test_characters_of_python_2_narrow_builds(tmp_path):
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(b'V\\ud83d\\ude00\n.')
    assert load_plain(path) == '\N{GRINNING FACE}'
