"""Pickles of refs: what they hold, what they must not do, what they must not cost."""

import copyreg
import json
import math
import os
import pickle
import re
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmagnet.datasets.converters import safe_pickle
from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.converters.safe_pickle import load_refs
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
    with pytest.raises(DataError, match=r'refs\(unc\)\.p: refused: it (names|holds a set)'):
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


def load_plain(path, value, protocol):
    path.write_bytes(pickle.dumps([{'value': value, 'again': [value]}], protocol))
    return load_refs(path)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(value=PLAIN, protocol=st.integers(0, 5))
def test_as_the_standard_unpickler(value, protocol, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'plain.p'
    data = pickle.dumps(value, protocol)
    if any(call in data for call in (b'c_codecs\n', b'c__builtin__\n')):  # bytes before protocol 3
        with pytest.raises(DataError, match=r'refused: it names (_codecs\.encode|builtins\.bytes|__builtin__\.bytes)'):
            load_plain(path, value, protocol)
    else:
        assert same(load_plain(path, value, protocol), [{'value': value, 'again': [value]}])


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(data=st.binary(max_size=60))
def test_any_bytes(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / 'any.p'
    path.write_bytes(data)
    try:
        load_refs(path)
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
    'memo index': (b'\x80\x02]r\xff\xff\xff\x7f.', 'not a list of refs'),
    'text of 4 GB': (b'X\xff\xff\xff\xffa.', 'not a whole pickle'),
    'text of exabytes': (b'\x8d' + b'\xff' * 8 + b'a.', 'not a whole pickle'),
    'negative length': (b'T\xff\xff\xff\xffa.', 'not a whole pickle'),
    'bytearray of 64 GB': (b'\x96' + b'\0\0\0\0\x10\0\0\0.', 'refused: it holds a set, a bytearray'),
    'frame of exabytes': (b'\x80\x04\x95' + b'\xff' * 8 + b'].', 'not a whole pickle'),
    'number of 5000 digits': (b'L' + b'9' * 5000 + b'L\n.', 'not a whole pickle'),
    'lists in lists': (b']' * 50_000 + b'a' * 49_999 + b'.', 'not a list of refs'),
    'tuples in tuples': (b')' + b'\x85' * 50_000 + b'.', 'not a list of refs'),
    'key of tuples': (b'})' + b'\x85' * 50_000 + b'Ns.', 'refused: it has keys that are not strings'),
    'keys of tuples': (b'}()' + b'\x85' * 50_000 + b'Nu.', 'refused: it has keys that are not strings'),
    'dict of tuples': (b'()' + b'\x85' * 50_000 + b'Nd.', 'refused: it has keys that are not strings'),
    'a list in itself': (b']q\x00h\x00a.', 'not a list of refs'),
    'many references': (wide(b']'), 'not a list of refs'),
    'half a character': (b'V\\udg3d\n.', 'not a whole pickle'),
    'two values': (b'NN.', 'not a list of refs'),
    'no mark': (b']e.', 'not a whole pickle'),
    'entries for a number': (b'NNa.', 'not a whole pickle'),
    'no such memo': (b'h\x07.', 'not a whole pickle'),
    'call of a text': (text('x') + b')R.', 'not a whole pickle'),
    'class of a text': (text('x') + b')\x81.', 'not a whole pickle'),
    'state of a list': (b']}' + text('x') + b'Nsb.', 'not a whole pickle'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_files_cost_little(name, tmp_path):
    data, message = HOSTILE[name]
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            load_refs(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21 + 100 * len(data)


def test_numbers_of_numpy(tmp_path, monkeypatch):
    """Somebody's own file, so that a download would not help; the way out that the message names works."""
    refs = [{'ref_id': np.int64(3), 'sent_ids': np.arange(2), 'split': 'val'}]
    path = tmp_path / 'refs(unc).p'
    path.write_bytes(pickle.dumps(refs, 2))
    with pytest.raises(DataError, match=r"names numpy.*: its numbers are numpy's") as caught:
        load_refs(path)
    assert 'download' not in str(caught.value)
    command = re.search(r'json\.dump\(.*?tolist\(\)\)', str(caught.value))[0]
    monkeypatch.chdir(tmp_path)
    eval(command, {'json': json, 'refs': refs})
    assert json.loads((tmp_path / 'refs(unc).json').read_text()) == [{'ref_id': 3, 'sent_ids': [0, 1], 'split': 'val'}]


def test_too_large_a_file(tmp_path):
    path = tmp_path / 'refs(unc).p'
    path.touch()
    os.truncate(path, safe_pickle.MAX_BYTES + 1)  # a hole: no bytes on the disk
    with pytest.raises(DataError, match='refused: it has more than 134217728 bytes'):
        load_refs(path)


def test_a_bomb_of_references_has_a_short_message(tmp_path):
    """A few hundred bytes stand for 10 ** 15 entries, which no message may write out."""
    path = tmp_path / 'refcoco' / 'refs(unc).p'
    path.parent.mkdir()
    (path.parent / 'instances.json').write_text('{}')
    bomb = wide(b']')[2:-1]
    path.write_bytes(b'\x80\x02](}' + text('ref_id') + bomb + b'se.')
    with pytest.raises(DataError, match='field ann_id is missing') as caught:
        convert_refer(tmp_path, 'refcoco', 'unc', tmp_path / 'out')
    assert len(str(caught.value)) < 1000
