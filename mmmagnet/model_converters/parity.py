"""Proof by numbers: what a released network computes for given weights and inputs, beside what ours computes.

A folder of cases holds `cases.json`, and for each case a manifest (name -> shape of every released entry), the sizes
(`arch_*.json`) and what came out of the released network (`expected_*.npz`). Weights and inputs are functions of names,
shapes and seeds, so they are made here and never stored. No code in such a folder is run.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch import Tensor

from mmmagnet.utils.errors import CheckpointError

from .architecture import build, model_config
from .checkpoint import convert

# of the largest number expected; InstanceNorm in LAVT amplifies rounding
TOLERANCE = {'magnet': 1e-4, 'lavt': 5e-4}
LARGEST = 1 << 30  # numbers in an entry
INTEGER_BUFFERS = ('relative_position_index', 'position_ids', 'num_batches_tracked')


class Case(NamedTuple):
    """One case of a folder.

    Attributes:
        name: Its name in ``cases.json``.
        kind: ``'magnet'`` or ``'lavt'``.
        settings: Its entry there: seed, batch, height, width, tokens, valid_tokens, vocab_size.
        manifest: Released name -> shape.
        sizes: Of ``arch_*.json``.
        expected: Array name -> fp32 array.
    """

    name: str
    kind: str
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
        _check_settings(settings, f'{folder / "cases.json"}: case {name!r}')
        architecture = settings.get('architecture') or f'arch_{settings.get("arch")}.json'
        manifest = _read_json(folder / settings['manifest'])
        for entry, shape in manifest.items():
            if not isinstance(shape, list) or not all(_whole(side, 1) for side in shape) or math.prod(shape) > LARGEST:
                raise CheckpointError(f'{folder / settings["manifest"]}: {entry} is {shape!r}, expected a shape')
        expected = _read_arrays(folder / settings['expected'])
        kind = 'magnet' if any(entry.startswith('image_model.') for entry in manifest) else 'lavt'
        cases.append(Case(name, kind, settings, manifest, _read_json(folder / architecture), expected))
    return cases


def make_weight(name: str, shape: Sequence[int]) -> np.ndarray:
    """Value of a released entry: float32 of `shape`, a function of name and shape."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith('running_var'):
        return np.abs(noise) + 0.5
    if name.endswith('relative_position_bias_table'):
        return 0.5 * noise
    if len(shape) >= 2:
        return noise / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * noise if name.endswith('.weight') else 0.1 * noise


def make_entries(manifest: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """A released state dict, less its integer buffers."""
    return {
        name: torch.from_numpy(np.asarray(make_weight(name, shape), np.float32))
        for name, shape in manifest.items()
        if not name.endswith(INTEGER_BUFFERS)
    }


def make_inputs(settings: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Image (B, 3, H, W), input_ids (B, L) and word_mask (B, L) of a case."""
    random = np.random.RandomState(settings['seed'])
    batch, length = settings['batch'], settings['tokens']
    image = random.standard_normal((batch, 3, settings['height'], settings['width'])).astype(np.float32)
    ids = random.randint(5, settings['vocab_size'], size=(batch, length)).astype(np.int64)
    mask = np.arange(length) < np.asarray(settings['valid_tokens'])[:, None]
    return torch.from_numpy(image), torch.from_numpy(ids * mask), torch.from_numpy(mask.astype(np.int64))


def compute(case: Case, published: dict[str, Any]) -> dict[str, Tensor]:
    """Arrays of a case, by our network with converted weights.

    Args:
        case: The case.
        published: `model` of the config of its kind.
    """
    config = {**model_config(published, case.sizes, case.kind, case.name), 'auxiliary_head': None}
    init_default_scope('mmseg')
    model = build(config, case.name).eval()
    model.load_state_dict(convert(make_entries(case.manifest), case.kind, model.state_dict(), case.name))
    table = model.state_dict()['text_encoder.embeddings.word_embeddings.weight']
    positions = model.state_dict()['text_encoder.embeddings.position_embeddings.weight']
    for field, most in (('vocab_size', len(table)), ('tokens', len(positions))):
        if case.settings[field] > most:
            raise CheckpointError(f'case {case.name!r}: {field} is {case.settings[field]}, the network takes {most}')
    words = []
    listener = model.neck.stages[2].register_forward_hook(lambda module, given, result: words.append(result[2]))
    with torch.no_grad():
        features = model.extract_feat(*make_inputs(case.settings))
        decoded = model.decode_head(features)
    listener.remove()
    arrays = {f'fused_s{stage}': feature[:, :16] for stage, feature in enumerate(features.maps, start=1)}
    arrays['text_features'] = words[0][:, :, ::16]
    if case.kind == 'lavt':
        return {**arrays, 'logits': decoded.logits}
    *earlier, final = decoded.predictions
    return {
        **arrays,
        'mask_features': decoded.mask_features[:, ::16],
        'pred_masks': final.masks,
        'pred_logits': final.classes,
        'aux_pred_masks': torch.stack([prediction.masks for prediction in earlier]),
    }


def compare(case: Case, published: dict[str, Any]) -> list[Difference]:
    """Differences of a case, one for each expected array.

    Raises:
        CheckpointError: If the case expects an array that we do not compute, or none at all.
    """
    arrays = compute(case, published)
    unknown = [name for name in case.expected if name not in arrays]
    if unknown or not case.expected:
        raise CheckpointError(f'case {case.name!r}: expects {unknown or "nothing"}, known are {", ".join(arrays)}')
    differences = []
    for name, expected in case.expected.items():
        ours = arrays[name].numpy()
        error = float(np.abs(ours - expected).max()) if ours.shape == expected.shape else math.inf
        differences.append(Difference(name, error, float(np.abs(expected).max()), TOLERANCE[case.kind]))
    return differences


def _check_settings(settings: Any, case: str) -> None:
    """Refuse a case of ``cases.json`` whose fields cannot be used."""
    if not isinstance(settings, dict):
        raise CheckpointError(f'{case} is {settings!r}, expected an object')
    for field, least in (('seed', 0), ('batch', 1), ('height', 1), ('width', 1), ('tokens', 1), ('vocab_size', 6)):
        if not _whole(settings.get(field), least):
            raise CheckpointError(f'{case}: {field} is {settings.get(field)!r}, expected a whole number from {least}')
    words = settings.get('valid_tokens')
    if (
        not isinstance(words, list)
        or len(words) != settings['batch']
        or not all(_whole(count, 0) and count <= settings['tokens'] for count in words)
    ):
        raise CheckpointError(
            f'{case}: valid_tokens is {words!r}, expected a number up to tokens for each of the batch'
        )
    for field in ('manifest', 'expected', 'architecture' if 'architecture' in settings else 'arch'):
        if not isinstance(settings.get(field), str) or not settings[field]:
            raise CheckpointError(f'{case}: {field} is {settings.get(field)!r}, expected the name of a file')


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 1 << 32


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
