"""Kill a training again and again, and compare its end with that of an undisturbed one.

python tests/stress/killing.py --kills 20 --processes 2 --out /tmp/killing
"""

import argparse
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
model = dict(backbone=dict(drop_path_rate=0.2), text_encoder=dict(config=dict(hidden_dropout_prob=0.1)))
train_dataloader = dict(num_workers=1, batch_size=4)
val_dataloader = dict(num_workers=0)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=4), logger=dict(interval=1))
"""
PATHS = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])  # pausing_disk.py is here
ENVIRONMENT = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': PATHS, 'OMP_NUM_THREADS': '1'}
# what the log has when a moment has come, and how many seconds later at most the kill comes
MOMENTS = {'starting': ('', 8), 'training': ('Epoch(train)', 2), 'writing': ('the disk stands still', 0.1)}


def make_data(folder: Path) -> Path:
    """A synthetic set of 16 images, three refs each."""
    options = ['--level', 'easy', '--workers', '1', '--train', '16', '--val', '6', '--testA', '2', '--testB', '2']
    command = [sys.executable, 'tools/dataset_converters/synthetic.py', '--out', str(folder), *options]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def command_of(config: Path, data: Path, work_dir: Path, processes: int, epochs: int = 3) -> list[str]:
    """The command that starts or resumes a training."""
    launch = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    if processes > 1:
        launch = ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), str(processes)]
    options = ['--cfg-options', f'train_cfg.max_epochs={epochs}', f'param_scheduler.1.end={epochs}']
    return [*launch, '--device=cpu', f'--data-root={data}', f'--work-dir={work_dir}', '--resume', *options]


def start(command: list[str], log: Path, pause: int = 0) -> subprocess.Popen:
    """The training with its output in a file; it stands still in the write of the number `pause`."""
    with log.open('w') as stream:
        return subprocess.Popen(command, env=ENVIRONMENT | {'PAUSE_AT_WRITE': str(pause)}, stdout=stream, stderr=stream)


def kill(process: subprocess.Popen, way: str, chance: random.Random) -> None:
    """End a training: ``all`` or ``one`` of its processes by SIGKILL, ``term`` by SIGTERM."""
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    workers = [int(child) for child in children]  # of torchrun, or for the data
    victims = {'all': [process.pid, *workers], 'one': [chance.choice(workers or [process.pid])], 'term': [process.pid]}
    for victim in victims[way]:
        os.kill(victim, signal.SIGTERM if way == 'term' else signal.SIGKILL)
    assert process.wait(120) != 0, f'ended well in spite of the kill ({way})'
    deadline = time.monotonic() + 60
    while any(Path(f'/proc/{worker}/exe').exists() for worker in workers):
        assert time.monotonic() < deadline, f'{workers} are still there'
        time.sleep(0.1)


def train_through(kills: list[tuple[str, str]], command: list[str], folder: Path, work_dir: Path) -> None:
    """Train to the end through kills, each a moment and a way."""
    chance = random.Random(0)
    for life, (moment, way) in enumerate(kills):
        log, (sign, seconds) = folder / f'life_{life}.log', MOMENTS[moment]
        process = start(command, log, chance.randint(2, 4) if moment == 'writing' else 0)
        while sign not in log.read_text():
            assert process.poll() is None, f'ended before {moment}: {log.read_text()[-3000:]}'
            time.sleep(0.2)
        time.sleep(chance.uniform(0, seconds))
        kill(process, way, chance)
        print(moment, way, flush=True)
        assert (moment, way) != ('writing', 'all') or list(work_dir.glob('*.part')), 'no write was cut off'
    assert start(command, folder / 'end.log').wait(1200) == 0, (folder / 'end.log').read_text()[-3000:]


def assert_same_end(first: Path, second: Path) -> None:
    """Two work dirs have the same weights, optimizer states, steps and checkpoints at their end, to the bit."""
    ends = [torch.load((folder / 'last_checkpoint').read_text(), weights_only=False) for folder in (first, second)]
    parts = [{**end['state_dict'], **end['optimizer']['state'], 'steps': end['meta']['iter']} for end in ends]
    torch.testing.assert_close(*parts, rtol=0, atol=0)
    assert len({tuple(sorted(path.name for path in folder.glob('*.p[at]*'))) for folder in (first, second)}) == 1


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--out', type=Path, required=True, help='folder of data, trainings and logs; a new one')
    args = parser.parse_args()
    whole, killed, config = args.out / 'whole', args.out / 'killed', args.out / 'killed.py'
    data, chance, settings = make_data(args.out / 'data'), random.Random(1), (args.processes, args.kills + 10)
    config.write_text(CONFIG)
    ways = ['all', 'all', 'term'] if args.processes == 1 else ['all', 'one', 'one', 'term']
    moments = [*MOMENTS, 'training']
    kills = [(moments[life % len(moments)], chance.choice(ways)) for life in range(args.kills)]
    assert start(command_of(config, data, whole, *settings), args.out / 'whole.log').wait() == 0
    train_through(kills, command_of(config, data, killed, *settings), args.out, killed)
    assert_same_end(whole, killed)
    print(f'{args.kills} kills; the same end')
