"""Damaged and hostile files through converters, verification and dataset: refused with a message, or read."""

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('pyarrow')

import fuzz

from mmmagnet.datasets.converters.refer import convert_refer
from mmmagnet.datasets.verification.verify import verify_prepared
from mmmagnet.utils.errors import DataError


@pytest.mark.parametrize('start', range(0, 350, 70))
def test_mutated_files(start, tmp_path):
    results = [fuzz.run_case(0, number, tmp_path / 'case') for number in range(start, start + 70)]
    assert not [result for result in results if result.failed]
    assert len({result.route for result in results}) == len(fuzz.routes())
    assert {result.outcome for result in results} == {'read', 'refused'}


@pytest.mark.parametrize('route', fuzz.routes(), ids=lambda route: route.name)
def test_whole_files_are_read(route, tmp_path):
    """Without a mutation every route ends well: what is refused elsewhere is refused for the mutation."""
    folder, out = tmp_path / 'in', tmp_path / 'out' / 'set'
    out.parent.mkdir()
    for name, data in {**route.others, route.name: route.encode(route.value(), fuzz.random.Random(0))}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / 'images').mkdir(exist_ok=True)
    route.read(folder, out)


def test_a_case_is_its_seed_and_number(tmp_path):
    route = fuzz.routes()[0]
    made = [fuzz.make_case(route, fuzz.random.Random(f'{seed} {number}')) for seed, number in [(0, 1), (0, 1), (1, 1)]]
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ('error', 'failed'),
    [(DataError('a: b'), False), (OSError(2, 'x'), False), (DataError(''), True), (KeyError(1), True)],
)
def test_what_counts_as_a_failure(error, failed, tmp_path, monkeypatch):
    def read(folder, out):
        raise error

    monkeypatch.setattr(fuzz, 'routes', lambda: [fuzz.Route('a', list, fuzz.as_json, {}, read)])
    assert fuzz.run_case(0, 0, tmp_path / 'case').failed is failed


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
    refs, instances = fuzz.small_refs(), fuzz.small_instances()
    places = list(fuzz.places(refs if in_refs else instances))
    container, key = places[place % len(places)]
    container[key] = value
    (root / 'refcoco').mkdir()
    (root / 'refcoco' / 'refs(unc).p').write_bytes(pickle.dumps(refs, 2))
    (root / 'refcoco' / 'instances.json').write_text(json.dumps(instances))
    try:
        convert_refer(root, 'refcoco', 'unc', root / 'out')
    except DataError as error:
        assert str(root / 'refcoco') in str(error)
        assert [path.name for path in root.iterdir()] == ['refcoco']
    else:
        verify_prepared(root / 'out', images=False, tokenizer=fuzz.TOKENIZER)
