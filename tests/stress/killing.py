"""Kill a training again and again, and compare its end with that of an undisturbed one.

python tests/stress/killing.py --kills 20 --processes 2 --out /tmp/killing
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
# all that is random is on; an epoch has 12 steps
CONFIG = f"""
_base_ = {str(ROOT / 'configs/magnet_tiny_synthetic.py')!r}
custom_imports = dict(imports=['mmmagnet', 'pausing_disk'], allow_failed_imports=False)
model = dict(
    backbone=dict(drop_path_rate=0.2),
    text_encoder=dict(config=dict(hidden_dropout_prob=0.1)),
    auxiliary_head=[
        dict(type='MaskGroundingHead', extra_masked_pass=False, num_layers=1, num_heads=4, dropout=0.1, mask_prob=0.3),
        dict(type='AlignmentHead', loss=dict(type='CrossModalAlignmentLoss', num_samples=16)),
    ],
)
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, begin=0, end={{epochs}}, by_epoch=True, convert_to_iter_based=True)
]
train_dataloader = dict(num_workers={{workers}}, persistent_workers={{workers}} > 0, batch_size=4)
val_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs={{epochs}}, val_interval=1)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=1))
"""
ENVIRONMENT = {
    **os.environ,
    'PYTHON': sys.executable,
    'PYTHONPATH': os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
    'OMP_NUM_THREADS': '1',
}


def make_data(folder: Path, train: int = 16) -> Path:
    """A synthetic set of 16 images, three refs each."""
    if not folder.exists():
        command = ['tools/dataset_converters/synthetic.py', '--level', 'easy', '--out', str(folder), '--workers', '1']
        counts = ['--train', str(train), '--val', '6', '--testA', '2', '--testB', '2']
        subprocess.run([sys.executable, *command, *counts], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def command_of(config: Path, data: Path, work_dir: Path, processes: int) -> list[str]:
    """The command that starts or resumes a training."""
    launch = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    if processes > 1:
        launch = ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), str(processes)]
    return [*launch, '--device', 'cpu', '--data-root', str(data), '--work-dir', str(work_dir), '--resume']


def start(command: list[str], log: Path, pause_at_write: int = 0) -> subprocess.Popen:
    """The training as a process group, with its output in a file; it stands still in the write of that number."""
    environment = {**ENVIRONMENT, 'PAUSE_AT_WRITE': str(pause_at_write)}
    with log.open('w') as stream:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )


def wait_for(moment: str, process: subprocess.Popen, work_dir: Path, log: Path, chance: random.Random) -> None:
    """Wait until a training is ``starting``, ``training`` or ``writing``, and then for a random time."""
    before = set(work_dir.glob('*.part'))
    while moment != 'starting':
        assert process.poll() is None, f'ended before {moment}: {log.read_text()[-3000:]}'
        if moment == 'training' and 'Epoch(train)' in log.read_text():
            break
        parts = set(work_dir.glob('*.part')) - before
        time.sleep(0.5)
        if moment == 'writing' and parts & set(work_dir.glob('*.part')):  # stands still
            break
    time.sleep(chance.uniform(0, {'starting': 8, 'training': 2, 'writing': 0.1}[moment]))


def kill(process: subprocess.Popen, way: str, chance: random.Random) -> int:
    """End a training: ``all`` and ``one`` of its processes by SIGKILL, ``term`` by SIGTERM; returns the exit status."""
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    workers = [int(child) for child in children]  # of torchrun, or data workers
    if way == 'all':
        os.killpg(process.pid, signal.SIGKILL)
        for worker in workers:  # torchrun gives each a group of its own
            os.kill(worker, signal.SIGKILL)
    elif way == 'one':
        os.kill(chance.choice(workers or [process.pid]), signal.SIGKILL)
    else:
        process.terminate()
    status = process.wait(120)
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{worker}/exe').exists() for worker in workers):
        assert time.monotonic() < deadline, f'{workers} are still there'
        time.sleep(0.1)
    return status


def train_through(
    kills: list[tuple[str, str]], command: list[str], folder: Path, work_dir: Path, seed: int
) -> list[dict[str, object]]:
    """Train to the end through kills, each a moment and a way; returns what happened."""
    chance, events = random.Random(seed), []
    for life, (moment, way) in enumerate(kills):
        log = folder / f'life_{life}.log'
        process = start(command, log, chance.randint(2, 4) if moment == 'writing' else 0)
        wait_for(moment, process, work_dir, log, chance)
        status = kill(process, way, chance)
        left = sorted(path.name for path in work_dir.glob('*.p[at]*'))
        events.append({'moment': moment, 'way': way, 'status': status, 'left': left})
    assert start(command, folder / 'end.log').wait(1200) == 0, (folder / 'end.log').read_text()[-3000:]
    return events


def differences(first: Path, second: Path) -> list[str]:
    """Names of weights, optimizer states and files that differ between two work dirs, to the bit."""
    from mmmagnet.utils.checkpoint import load_file

    one, other = (load_file(Path((folder / 'last_checkpoint').read_text())) for folder in (first, second))
    found = [name for name, value in one['state_dict'].items() if not torch.equal(value, other['state_dict'].get(name))]
    for index, state in one['optimizer']['state'].items():
        moments = other['optimizer']['state'][index]
        found += [f'{name} of parameter {index}' for name in state if not torch.equal(state[name], moments[name])]
    if one['meta']['iter'] != other['meta']['iter']:
        found.append('the number of steps')
    files = [{path.name for path in folder.glob('*.p[at]*')} for folder in (first, second)]
    return found + sorted(files[0] ^ files[1])


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, required=True, help='folder of data, trainings and logs')
    args = parser.parse_args()
    folder = args.out / f'{args.processes}_processes'
    folder.mkdir(parents=True)
    data, config = make_data(args.out / 'data'), folder / 'killed.py'
    config.write_text(CONFIG.format(epochs=args.epochs, workers=args.workers))
    whole, killed = folder / 'whole', folder / 'killed'
    assert start(command_of(config, data, whole, args.processes), folder / 'whole.log').wait(3600) == 0
    chance = random.Random(args.seed)
    ways = ['all', 'all', 'term'] if args.processes == 1 else ['all', 'one', 'one', 'term']
    moments = ['starting', 'training', 'training', 'writing']
    kills = [(chance.choice(moments), chance.choice(ways)) for _ in range(args.kills)]
    events = train_through(kills, command_of(config, data, killed, args.processes), folder, killed, args.seed)
    for event in events:
        print(json.dumps(event))
    found = differences(whole, killed)
    print(f'{len(events)} kills; not the same: {found or "nothing"}')
    return int(bool(found) or any(event['status'] == 0 for event in events))


if __name__ == '__main__':
    sys.exit(main())
