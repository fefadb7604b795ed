"""Kill a training again and again, and compare what it becomes with one that nobody touched.

    python tests/stress/killing.py --kills 20 --processes 2 --out /tmp/killing

The same command goes on from what stands in the folder. `test_survival` does it with a few kills.
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
SAVED_EVERY = 4  # steps
# all that is drawn at random is switched on
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
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval={SAVED_EVERY}, max_keep_ckpts=2), logger=dict(interval=1)
)
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
    """Trains, or goes on."""
    launch = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    if processes > 1:
        launch = ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), str(processes)]
    return [*launch, '--device', 'cpu', '--data-root', str(data), '--work-dir', str(work_dir), '--resume']


def start(command: list[str], log: Path, pause_at_write: int = 0) -> subprocess.Popen:
    """In a process group of its own, its output to a file; it stands still in a writing of that number."""
    environment = {**ENVIRONMENT, 'PAUSE_AT_WRITE': str(pause_at_write)}
    with log.open('w') as stream:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )


def trainers_of(launcher: int) -> list[int]:
    """The training processes below torchrun."""
    children = Path(f'/proc/{launcher}/task/{launcher}/children')
    return [int(child) for child in children.read_text().split()] if children.exists() else []


def lives(process: int) -> bool:
    """Whether a process is there and is more than an entry that nobody has asked after."""
    try:
        return bool(Path(f'/proc/{process}/cmdline').read_bytes())
    except OSError:
        return False


def wait_for(moment: str, process: subprocess.Popen, work_dir: Path, log: Path, chance: random.Random) -> bool:
    """Wait for a moment of a training: ``starting``, ``training`` or ``writing``; False if it ended before."""

    def reached() -> bool:
        if moment == 'training':
            return 'Epoch(train)' in log.read_text()
        parts = set(work_dir.glob('*.part'))
        time.sleep(1)
        return bool(parts & set(work_dir.glob('*.part')))  # stands still

    while moment != 'starting' and not reached():
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    try:
        process.wait(chance.uniform(0, {'starting': 8, 'training': 2.5, 'writing': 0.1}[moment]))
        return False
    except subprocess.TimeoutExpired:
        return True


def kill(process: subprocess.Popen, way: str, chance: random.Random) -> int:
    """End a training in some way; returns its exit status when all of its processes are gone.

    Args:
        process: Of `start`.
        way: ``all`` (SIGKILL to all), ``one`` (to one of several training processes), ``launcher`` (to torchrun alone),
            ``term`` (SIGTERM).
        chance: Chooses one.
    """
    trainers = trainers_of(process.pid)
    if way == 'term':
        process.terminate()
    elif way == 'one':
        os.kill(chance.choice(trainers or [process.pid]), signal.SIGKILL)
    else:
        # torchrun last: its end is told to the others
        for each in [*(trainers if way == 'all' else []), process.pid]:
            os.kill(each, signal.SIGKILL)
    status = process.wait(120)
    deadline = time.monotonic() + 60
    while any(lives(trainer) for trainer in trainers):
        assert time.monotonic() < deadline, f'{trainers} live on'
        time.sleep(0.05)
    return status


def train_through(
    kills: list[tuple[str, str]], command: list[str], folder: Path, work_dir: Path, seed: int
) -> list[dict[str, object]]:
    """Train to the end in spite of kills, each a moment and a way; what happened."""
    chance = random.Random(seed)
    events: list[dict[str, object]] = []
    for life, (moment, way) in enumerate(kills):
        log = folder / f'life_{life}.log'
        for part in work_dir.glob('*.part'):  # of a life before
            part.unlink()
        process = start(command, log, chance.randint(2, 4) if moment == 'writing' else 0)
        if not wait_for(moment, process, work_dir, log, chance):
            break
        status = kill(process, way, chance)
        left = sorted(path.name for path in work_dir.glob('*'))
        events.append({'moment': moment, 'way': way, 'status': status, 'left': left})
    process = start(command, folder / 'last_life.log')
    assert process.wait(1200) == 0, (folder / 'last_life.log').read_text()[-3000:]
    return events


def last(work_dir: Path) -> Path:
    """The checkpoint that a training ended with."""
    return Path((work_dir / 'last_checkpoint').read_text())


def differences(first: Path, second: Path) -> list[str]:
    """Names of weights, moments of the optimizer and files that are not the same, to the bit."""
    from mmmagnet.utils.checkpoint import load_file

    one, other = load_file(last(first)), load_file(last(second))
    found = [name for name, value in one['state_dict'].items() if not torch.equal(value, other['state_dict'].get(name))]
    for index, state in one['optimizer']['state'].items():
        moments = other['optimizer']['state'][index]
        found += [f'{name} of parameter {index}' for name in state if not torch.equal(state[name], moments[name])]
    files = [{path.name for path in folder.glob('*.pth*')} for folder in (first, second)]
    if one['meta']['iter'] != other['meta']['iter']:
        found.append('the number of steps')
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
    folder.mkdir(parents=True, exist_ok=True)
    data = make_data(args.out / 'data')
    config = folder / 'killed.py'
    config.write_text(CONFIG.format(epochs=args.epochs, workers=args.workers))
    whole, killed = folder / 'whole', folder / 'killed'
    began = time.monotonic()
    undisturbed = start(command_of(config, data, whole, args.processes), folder / 'whole.log')
    assert undisturbed.wait(3600) == 0, (folder / 'whole.log').read_text()[-3000:]
    print(f'undisturbed: {time.monotonic() - began:.0f} s', flush=True)
    chance = random.Random(args.seed)
    ways = ['all', 'all', 'term'] if args.processes == 1 else ['all', 'one', 'one', 'launcher', 'term']
    kills = [
        (chance.choice(['starting', 'training', 'training', 'writing']), chance.choice(ways)) for _ in range(args.kills)
    ]
    events = train_through(kills, command_of(config, data, killed, args.processes), folder, killed, args.seed)
    for event in events:
        print(json.dumps(event))
    found = differences(whole, killed)
    print(f'{len(events)} kills in {time.monotonic() - began:.0f} s; not the same: {found or "nothing"}')
    return int(bool(found) or len(events) < args.kills or any(event['status'] == 0 for event in events))


if __name__ == '__main__':
    sys.exit(main())
