"""Time and peak memory from a name to masks, with a released-style MagNet file of full size on a hub at 127.0.0.1.

The file is made by the parity cases' rule: real names and shapes, invented numbers. The second call finds no hub.

Example:
    PYTHONPATH=. python tests/stress/full_size_hub.py work_dirs/full_size_hub
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from mmmagnet.model_converters import MAGNET
from mmmagnet.model_converters.filling import make_entries
from mmmagnet.registry import MODELS
from mmmagnet.utils.config import load_config
from mmmagnet.utils.io import atomic_write, file_sha256

ROOT = Path(__file__).parents[2]
NAME, FILE = 'magnet_swin-b_refcoco', 'magnet_refcoco.pth'
TOKENIZER = ROOT / 'mmmagnet/datasets/synthetic/tokenizer'


def full_size_manifest() -> dict[str, tuple[int, ...]]:
    """Released name -> shape at full size: those of the small case, with the layers that a deeper network repeats."""
    small = json.loads((ROOT / 'tests/data/official_parity/manifest_small.json').read_text())
    init_default_scope('mmseg')
    with torch.device('meta'):
        own = MODELS.build(load_config(ROOT / 'configs' / MAGNET.config).model).state_dict()
    manifest = {name: tuple(shape) for name, shape in small.items()}  # what has no effect on masks stays small
    for name, shape in small.items():
        for index in range(18):
            deeper = re.sub(r'(\.blocks|\.layer|encoder\.layers|_layers)\.\d+\.', rf'\1.{index}.', name)
            if (ours := MAGNET.rename(deeper)) in own:
                side = own[ours].shape  # a linear layer may be a 1-wide convolution there
                manifest[deeper] = (*side, *(1,) * (len(shape) - len(side)))
    missing = {name for name in own if not name.startswith('auxiliary_head')} - {*map(MAGNET.rename, manifest)}
    assert not missing, missing
    return manifest


def make(path: Path) -> None:
    """Write the file."""
    with atomic_write(path, 'wb') as file:
        torch.save({'model': make_entries(full_size_manifest()), 'epoch': 39}, file)


def make_project(folder: Path, released: Path) -> None:
    """A checkout whose metafile has the checksum of the file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / 'configs', folder / 'configs')
    for name in ('mmmagnet', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    metafile = folder / 'configs/metafile.yaml'
    text = re.sub(rf'({FILE}\n +SHA256: )\w+', rf'\g<1>{file_sha256(released)}', metafile.read_text())
    metafile.write_text(text)


def call(project: Path, endpoint: str) -> None:
    """Run the tool once; print seconds and peak memory."""
    own = {'HF_ENDPOINT': endpoint, 'HF_HOME': str(project / 'hf'), 'MMMAGNET_HOME': str(project / 'home')}
    environment = {**os.environ, **own, 'PYTHONPATH': str(project), 'NO_PROXY': '127.0.0.1', 'CUDA_VISIBLE_DEVICES': ''}
    command = [sys.executable, 'tools/infer.py', str(ROOT / 'docs/quickstart.png'), '--text', 'the red circle']
    begin = time.perf_counter()
    process = subprocess.Popen([*command, '--model', NAME], cwd=project, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    assert status == 0, status
    print(f'{seconds:.1f} s, of the CPU {usage.ru_utime + usage.ru_stime:.1f} s, peak {usage.ru_maxrss / 1e6:.2f} GB')


def main(folder: Path) -> None:
    """Make the file, then call twice."""
    sys.path.insert(0, str(ROOT / 'tests'))
    from hub_server import serve

    released, project = folder / FILE, folder / 'project'
    if not released.is_file():  # in a process of its own: a child's peak begins with the memory of its parent
        subprocess.run([sys.executable, __file__, '--make', str(released)], check=True)
    make_project(project, released)
    print(f'{FILE}: {released.stat().st_size / 1e9:.2f} GB')
    tokenizer = {f'bert-base-uncased/{path.name}': path for path in TOKENIZER.iterdir()}
    with serve({f'yxchng/magnet_weights/{FILE}': released, **tokenizer}) as hub:
        print('first call', flush=True)
        call(project, hub.url)
        endpoint = hub.url
    print('second call', flush=True)
    call(project, endpoint)


if __name__ == '__main__':
    if sys.argv[1] == '--make':
        make(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]).resolve())
