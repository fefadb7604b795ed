"""The released checkpoints of MagNet and LAVT: names, sizes, and proof that our networks compute the same."""

from .architecture import architecture, build, model_config, unlike
from .checkpoint import Release, convert, read_release, unused_entries
from .names import released_name
from .parity import Case, Difference, compare, load_cases

__all__ = [
    'Case',
    'Difference',
    'Release',
    'architecture',
    'build',
    'compare',
    'convert',
    'load_cases',
    'model_config',
    'read_release',
    'released_name',
    'unlike',
    'unused_entries',
]
