"""Deterministic weights and inputs for the parity cases.

Every weight is a pure function of its name and shape, so a whole checkpoint is
described by `manifest_*.json` (name -> shape) and never has to be stored.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np

INTEGER_BUFFERS = ('relative_position_index', 'position_ids', 'num_batches_tracked')


def fill(name, shape):
    """Value of the parameter `name`: float32 array of `shape`."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    z = rng.standard_normal(size=shape).astype(np.float32)
    if name.endswith('running_var'):
        return np.abs(z) + 0.5
    if name.endswith('relative_position_bias_table'):
        return 0.5 * z
    if len(shape) >= 2:
        return z / math.sqrt(int(np.prod(shape[1:])))
    if name.endswith('.weight'):  # scale of a normalisation layer
        return 1 + 0.1 * z
    return 0.1 * z


def official_state_dict(manifest):
    """name -> float32 array, for a manifest read from manifest_*.json."""
    return {name: fill(name, tuple(shape)) for name, shape in manifest.items() if not name.endswith(INTEGER_BUFFERS)}


def inputs(case):
    """image (B, 3, H, W) float32, input_ids (B, L) int64, attention_mask (B, L) int64."""
    rng = np.random.RandomState(case['seed'])
    b, h, w, length = case['batch'], case['height'], case['width'], case['tokens']
    image = rng.standard_normal(size=(b, 3, h, w)).astype(np.float32)
    ids = rng.randint(5, case['vocab_size'], size=(b, length)).astype(np.int64)
    mask = np.zeros((b, length), np.int64)
    for row, valid in enumerate(case['valid_tokens']):
        mask[row, :valid] = 1
    return image, ids * mask, mask


def load(folder, name):
    """(case, manifest, expected arrays) of the parity case `name`."""
    folder = Path(folder)
    case = json.loads((folder / 'cases.json').read_text())[name]
    manifest = json.loads((folder / case['manifest']).read_text())
    return case, manifest, dict(np.load(folder / case['expected']))
