"""Damaged and hostile files through every reader: refused with one line, or read."""

import json
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('pyarrow')

import fuzz
from layouts import instances, refs
from mutation import file_of, mutated, places
from sources import TOKENIZER, write_files

from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError

WHOLE = [(name, place) for name, variants in fuzz.readers().items() for place in range(len(variants))]


def test_mutated_files(tmp_path):
    results = [fuzz.run_case(0, number, tmp_path) for number in range(12 * len(fuzz.readers()))]
    assert not [result for result in results if result.failed]
    assert {result.reader for result in results} == {*fuzz.readers()}
    assert {result.outcome for result in results} == {'read', 'refused'}


@pytest.mark.parametrize(('name', 'place'), WHOLE)
def test_whole_files_are_read(name, place, tmp_path):
    """Without a mutation every file is read: what is refused elsewhere is refused for the mutation."""
    files, read = fuzz.readers()[name][place]
    write_files(tmp_path / 'in', {file: file_of(file, value, random.Random(0)) for file, value in files.items()})
    (tmp_path / 'out').mkdir()
    read(tmp_path / 'in', tmp_path / 'out' / 'set')


def test_a_case_is_its_seed_and_number():
    made = [mutated('x.json', refs(), random.Random(f'{seed} {number}')) for seed, number in [(0, 1), (0, 1), (1, 1)]]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ('read', 'failed'),
    [
        (lambda *_: None, False),
        (DataError('a: b'), False),
        (OSError(2, 'x'), False),
        (fuzz.RefusedError('a' * 3000), True),
        (fuzz.RefusedError('a\nb'), True),
        (KeyError(1), True),
    ],
)
def test_what_counts_as_a_failure(read, failed, tmp_path, monkeypatch):
    def run(folder, out):
        if isinstance(read, Exception):
            raise read

    monkeypatch.setattr(fuzz, 'readers', lambda: {'a': [fuzz.Reader({'a.json': [1]}, run)]})
    assert fuzz.run_case(0, 0, tmp_path).failed is failed


def test_half_written_output_is_a_failure(tmp_path, monkeypatch):
    def command(arguments):
        (tmp_path / 'out' / 'set.partial-1').mkdir(parents=True)
        return 2

    monkeypatch.setattr(fuzz, 'main_of', lambda tool: command)
    source = next(iter(fuzz.all_sources().values()))
    with pytest.raises(AssertionError, match=r'left behind: set\.partial'):
        fuzz.converter(source).read(tmp_path, tmp_path / 'out' / 'set')


def test_state_and_forbidden_events(tmp_path, monkeypatch, capsys):
    """A second run goes on from the first; a file that is written elsewhere is a failure."""

    def run(folder, out):
        (tmp_path / 'elsewhere').write_text('x')

    monkeypatch.setattr(fuzz, 'readers', lambda: {'a': [fuzz.Reader({'a.json': [1]}, lambda *_: None)]})
    command = ['--state', str(tmp_path / 'state.json')]
    assert fuzz.main([*command, '--count', '2']) == 0
    monkeypatch.setattr(fuzz, 'readers', lambda: {'a': [fuzz.Reader({'a.json': [1]}, run)]})
    assert fuzz.main([*command, '--count', '3']) == 1
    printed = capsys.readouterr().out
    assert 'case 2: a: tried open' in printed and printed.splitlines()[-1] == '3 cases, 1 failures'


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(in_refs=st.booleans(), place=st.integers(0, 10_000), value=ANY)
def test_any_value_anywhere(in_refs, place, value, tmp_path_factory):
    """Whatever stands at a place of a set: a message that names the file, or a folder that can be read."""
    root = tmp_path_factory.mktemp('refer')
    records, content = refs(), instances()
    found = list(places(records if in_refs else content))
    container, key = found[place % len(found)]
    container[key] = value
    (root / 'refcoco').mkdir()
    (root / 'refcoco' / 'refs(unc).p').write_bytes(pickle.dumps(records, 2))
    (root / 'refcoco' / 'instances.json').write_text(json.dumps(content))
    try:
        convert_refer(root, 'refcoco', 'unc', root / 'out')
    except DataError as error:
        assert str(root / 'refcoco') in str(error)
        assert [path.name for path in root.iterdir()] == ['refcoco']
    else:
        verify_prepared(root / 'out', images=False, tokenizer=TOKENIZER)
