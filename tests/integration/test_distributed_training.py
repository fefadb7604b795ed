"""Two processes of half the batch train like one process of the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
ITERATIONS = 20
# what is drawn at random in the network is drawn in full instead: every word is masked, every pixel is compared
CONFIG = f"""
_base_ = {str(ROOT / 'configs/magnet_tiny_synthetic.py')!r}
custom_imports = dict(imports=['mmmagnet', 'loss_recorder'], allow_failed_imports=False)
custom_hooks = [dict(type='LossRecorder')]
model = dict(
    auxiliary_head=[
        dict(type='MaskGroundingHead', extra_masked_pass=True, num_layers=2, num_heads=4, dropout=0.0,
             mask_prob=1.0, unmasked_prob=0.0),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=256)),
    ]
)
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(indices={8 * ITERATIONS}))
train_cfg = dict(max_epochs=1, val_interval=10)
"""


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'easy'
    command = ['tools/dataset_converters/synthetic.py', '--level', 'easy', '--out', str(folder)]
    counts = ['--train', '80', '--val', '4', '--testA', '4', '--testB', '4', '--workers', '1']
    subprocess.run([sys.executable, *command, *counts], cwd=ROOT, check=True, capture_output=True)
    return folder


def train(launcher, batch_size, data_root, folder):
    folder.mkdir()
    config = folder / 'config.py'
    config.write_text(CONFIG)
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
        'LOSS_FOLDER': str(folder),
    }
    arguments = ['--work-dir', str(folder / 'run'), '--data-root', str(data_root), '--device', 'cpu']
    options = ['--cfg-options', f'train_dataloader.batch_size={batch_size}']
    run = subprocess.run(
        [*launcher(str(config)), *arguments, *options],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    curves = [json.loads(path.read_text()) for path in sorted(folder.glob('losses_*.json'))]
    names = curves[0][0]
    losses = {name: np.mean([[step[name] for step in curve] for curve in curves], axis=0) for name in names}
    return len(curves), losses, torch.load(folder / 'weights.pth', weights_only=True)


def test_two_processes_follow_one(data_root, tmp_path):
    one, single, weights = train(
        lambda config: [sys.executable, 'tools/train.py', config], 8, data_root, tmp_path / 'one'
    )
    two, both, weights_both = train(
        lambda config: ['bash', 'tools/dist_train.sh', config, '2'], 4, data_root, tmp_path / 'two'
    )
    assert (one, two) == (1, 2)
    for name, curve in single.items():
        assert len(curve) == ITERATIONS
        np.testing.assert_allclose(both[name], curve, rtol=2e-3, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(both['loss'][:3], single['loss'][:3], rtol=1e-5)
    drift = max((weights[name] - weights_both[name]).abs().max().item() for name in weights)
    moved = max(value.abs().max().item() for value in weights.values())
    assert drift < 1e-2 * moved
