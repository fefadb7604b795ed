"""Released checkpoints: one file of naming rules for each method, and proof that our networks compute the same."""

from .caris import CARIS
from .converter import Converter
from .cris import CRIS
from .detris import DETRIS
from .lavt import LAVT
from .magnet import MAGNET
from .parity import Case, Difference, compare, load_cases
from .rela import RELA
from .release import CONVERTERS, Release, convert_release, find_converter, read_release

__all__ = [
    'CARIS',
    'CONVERTERS',
    'CRIS',
    'DETRIS',
    'LAVT',
    'MAGNET',
    'RELA',
    'Case',
    'Converter',
    'Difference',
    'Release',
    'compare',
    'convert_release',
    'find_converter',
    'load_cases',
    'read_release',
]
