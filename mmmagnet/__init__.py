"""mmmagnet: MagNet (Mask Grounding for Referring Image Segmentation, CVPR 2024) for MMSegmentation.

Importing it registers every part, so a config needs ``custom_imports = dict(imports=['mmmagnet'])``.
"""

import contextlib
import io
import warnings

# mmcv recommends its compiled operators whenever they are missing; nothing here needs them
warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
with contextlib.redirect_stdout(io.StringIO()):  # it prints the name of a package that it can do without
    import mmseg.datasets  # noqa: F401

from . import datasets, engine, evaluation, models, visualization

__version__ = '0.1.0'

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models', 'visualization']
