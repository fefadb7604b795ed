"""CLIP's published weights: read from its file, and renamed for our encoders."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from mmmagnet.utils.checkpoint import read_checkpoint
from mmmagnet.utils.errors import CheckpointError

Rules = Sequence[tuple[str, str]]
"""(pattern, replacement) of `re.sub`, in order."""

STACKED = re.compile(r'(.*transformer\.resblocks\.\d+\.attn\.)in_proj_(weight|bias)')


def image_rules(theirs: str, ours: str) -> Rules:
    """Names of CLIP's ResNet behind the prefix `theirs` -> those of `CLIPResNet` behind `ours`; both are patterns."""
    stages = [(rf'^{theirs}layer{stage + 1}\.', f'{ours}stages.{stage}.') for stage in range(4)]
    return [*stages, (rf'^{theirs}attnpool\.', f'{ours}attention_map.'), (rf'^{theirs}', ours)]


def text_rules(theirs: str, ours: str) -> Rules:
    """Names of CLIP's text transformer behind `theirs`, unstacked -> those of `StagedClipText` behind `ours`."""
    layers = rf'^({ours}layers\.\d+)'
    return [
        (rf'^{theirs}transformer\.resblocks\.', f'{ours}layers.'),
        (rf'{layers}\.attn\.', r'\1.self_attn.'),
        (rf'{layers}\.ln_([12])\.', r'\1.layer_norm\2.'),
        (rf'{layers}\.mlp\.c_fc\.', r'\1.mlp.fc1.'),
        (rf'{layers}\.mlp\.c_proj\.', r'\1.mlp.fc2.'),
        (rf'^{theirs}positional_embedding$', f'{ours}embeddings.position_embedding.weight'),
        (rf'^{theirs}token_embedding\.', f'{ours}embeddings.token_embedding.'),
        (rf'^{theirs}ln_final\.', f'{ours}final_layer_norm.'),
        (rf'^{theirs}text_projection$', f'{ours}text_projection.weight'),
    ]


def unstack_text(entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's entries with its stacked q, k and v apart, and its text projection as a linear layer holds it."""
    apart = unstack(entries, STACKED)
    for name, value in apart.items():
        if name.rpartition('.')[2] == 'text_projection' and value.dim() == 2:
            apart[name] = value.T
    return apart


def unstack(entries: Mapping[str, Tensor], stacked: re.Pattern[str]) -> dict[str, Tensor]:
    """Entries with q, k and v apart where a name matches: what is before ``in_proj_``, and ``weight`` or ``bias``."""
    apart: dict[str, Tensor] = {}
    for name, value in entries.items():
        match = stacked.fullmatch(name)
        if match and len(value) % 3 == 0:
            for part, third in zip('qkv', value.chunk(3), strict=True):
                apart[f'{match[1]}{part}_proj.{match[2]}'] = third
        else:
            apart[name] = value
    return apart


def read_clip(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file of CLIP's, in fp32 or fp16 as it is there.

    Raises:
        FileNotFoundError: If `path` is not there.
        CheckpointError: If the file cannot be read, or is a TorchScript archive, as OpenAI publishes them: such a file
            holds code.
    """
    if Path(path).is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            script = any(name.endswith('/constants.pkl') for name in archive.namelist())
        if script:
            raise CheckpointError(
                f'{path}: is a TorchScript archive, which holds code: save its weights alone, once, by '
                f"torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), OUT)"
            )
    return read_checkpoint(path)


def rename(entries: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Entries by their names after all rules."""
    renamed = {}
    for name, value in entries.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
