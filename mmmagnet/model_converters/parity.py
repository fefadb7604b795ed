"""Proof by numbers: what a released network computes for given weights and inputs, compared with what ours computes.

A folder of cases holds `cases.json`, and for each case a manifest (name -> shape of every released entry), the sizes
(`arch_*.json`) and the outputs of the released network (`expected_*.npz`). Weights and inputs are functions of names,
shapes and seeds, so they are made here and never stored. No code in such a folder is run.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.registry import init_default_scope

from mmmagnet.registry import MODELS
from mmmagnet.utils.errors import CheckpointError

from .converter import Converter
from .filling import make_entries
from .release import find_converter

LARGEST = 1 << 30  # numbers in an entry
UNUSABLE = (ValueError, TypeError, AssertionError, RuntimeError, LookupError, AttributeError, MemoryError)
"""What PyTorch and Python raise at a field or a size that cannot be used."""


class Case(NamedTuple):
    """One case of a folder.

    Attributes:
        name: Its name in ``cases.json``.
        converter: Of its method.
        settings: Its entry there: seed, batch, height, width, tokens, valid_tokens, vocab_size.
        manifest: Released name -> shape.
        sizes: Of ``arch_*.json``.
        expected: Array name -> fp32 array.
    """

    name: str
    converter: Converter
    settings: dict[str, Any]
    manifest: dict[str, list[int]]
    sizes: dict[str, Any]
    expected: dict[str, np.ndarray]


class Difference(NamedTuple):
    """How far an array is from what was expected.

    Attributes:
        array: Its name.
        error: max |ours - expected|; inf where shapes differ.
        scale: max |expected|.
        tolerance: Largest error allowed, as a part of `scale`.
    """

    array: str
    error: float
    scale: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance (NaN is not)."""
        return self.error <= self.tolerance * self.scale


def load_cases(folder: str | Path, names: Sequence[str] | None = None) -> list[Case]:
    """Read the cases of a folder, all or those of some names.

    Raises:
        CheckpointError: If a file is missing or damaged, or there is no case of a name.
    """
    folder = Path(folder)
    listed = _read_json(folder / 'cases.json')
    if not listed:
        raise CheckpointError(f'{folder / "cases.json"}: lists no case')
    cases = []
    for name in names or listed:
        if name not in listed:
            raise CheckpointError(f'{folder / "cases.json"}: has no case {name!r}, only {", ".join(listed)}')
        settings = listed[name]
        with _naming(f'{folder / "cases.json"}: case {name!r}'):
            architecture = settings.get('architecture') or f'arch_{settings["arch"]}.json'
            manifest = _read_json(folder / settings['manifest'])
            expected = _read_arrays(folder / settings['expected'])
            if 'training' in settings:
                expected |= _read_arrays(folder / settings['training'])
            converter = find_converter(manifest, folder / settings['manifest'])
            cases.append(Case(name, converter, settings, manifest, _read_json(folder / architecture), expected))
    return cases


def build(case: Case, published: dict[str, Any]) -> Any:
    """Our network at a case's sizes, with its weights, in evaluation mode.

    Args:
        case: The case.
        published: `model` of the config of its method.

    Raises:
        CheckpointError: If no network can be built at these sizes, an entry of the manifest differs from the network's,
            or an entry is larger than any of a network.
    """
    source = f'case {case.name!r}'
    init_default_scope('mmseg')
    with _naming(source):
        config = {**case.converter.resize(published, case.sizes), 'auxiliary_head': None}
        model = MODELS.build(config).eval()
        if max(map(math.prod, case.manifest.values())) > LARGEST:  # would take all memory before it is compared
            raise ValueError(f'the manifest has an entry of more than {LARGEST} numbers')
        entries = make_entries(case.manifest, case.converter.weight)
    weights, _ = case.converter.convert(entries, model.state_dict(), source)
    model.load_state_dict(weights)
    return model


def compare(case: Case, published: dict[str, Any]) -> list[Difference]:
    """Differences of a case, one for each expected array.

    Args:
        case: The case.
        published: `model` of the config of its method.

    Raises:
        CheckpointError: If the network cannot take the case, or the case expects no array that we compute.
    """
    model = build(case, published)
    with _naming(f'case {case.name!r}'):
        arrays = case.converter.arrays(model, {**case.settings, 'arrays': list(case.expected)})
    unknown = [name for name in case.expected if name not in arrays]
    if unknown or not case.expected:
        raise CheckpointError(f'case {case.name!r}: expects {unknown or "nothing"}, known are {", ".join(arrays)}')
    differences = []
    for name, expected in case.expected.items():
        ours = arrays[name].detach().numpy()
        if re.fullmatch(case.converter.each, name) and ours.shape == expected.shape:
            ours, expected = ours / np.where(expected, np.abs(expected), 1), np.sign(expected)
        error = float(np.abs(ours - expected).max()) if ours.shape == expected.shape else math.inf
        differences.append(Difference(name, error, float(np.abs(expected).max()), case.converter.tolerance_of(name)))
    return differences


@contextmanager
def _naming(case: str) -> Iterator[None]:
    """Turn what a case that cannot be used raises into one line that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except UNUSABLE as error:
        raise CheckpointError(f'{case} cannot be run: {type(error).__name__}: {error}') from error


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; cases.json names it')
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except Exception as error:  # zip and numpy readers raise their own kinds on a damaged file
        raise CheckpointError(f'{path}: not a whole .npz file ({error})') from error
    for name, array in arrays.items():
        if array.dtype.kind != 'f' or not array.size:
            raise CheckpointError(f'{path}: {name} holds {array.size} numbers of {array.dtype}, expected floats')
    return arrays


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; --check needs a folder of parity cases')
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f'{path}: not a JSON file ({error})') from error
    if not isinstance(content, dict):
        raise CheckpointError(f'{path}: expected a JSON object')
    return content
