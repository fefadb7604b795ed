"""The notebook runs from top to bottom in a kernel of its own."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained import write_checkpoint

ROOT = Path(__file__).parents[2]


def test_notebook(tmp_path, monkeypatch):
    pytest.importorskip('ipykernel')
    nbformat, nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
    images, work_dir = tmp_path / 'data/synthetic_quickstart/images', tmp_path / 'work_dirs/quickstart'
    images.mkdir(parents=True)
    work_dir.mkdir(parents=True)
    write_checkpoint(work_dir)
    for index in range(2):
        pixels = np.random.default_rng(index).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / f'val_{index:06}.png')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
    notebook = nbformat.read(ROOT / 'docs' / 'inference.ipynb', as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={'metadata': {'path': str(tmp_path)}})
    ran = client.execute()
    outputs = [output for cell in ran.cells for output in cell.get('outputs', [])]
    assert sum('image/png' in output.get('data', {}) for output in outputs) == 2  # overlay and heat maps
