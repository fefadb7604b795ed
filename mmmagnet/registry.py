"""The registries in which every part of mmmagnet is found by name.

They are MMSegmentation's own, so a part of ours fits into an mmseg config and a part of mmseg's into one of ours.
"""

from mmseg.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISUALIZERS,
)

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'TRANSFORMS',
    'VISUALIZERS',
]
