"""Training and scoring under a real Slurm of one node, in two processes on the CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import CONFIG as EVENTFUL
from killing import assert_same_end, command_of, make_data, start

ROOT = Path(__file__).parents[2]
LOCAL_SLURM = ROOT.parent / 'shared' / 'slurm' / 'local_slurm.sh'
CONFIG = ROOT / 'configs' / 'magnet_tiny_synthetic.py'
OPTIONS = [
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=8',
    *(f'{name}_dataloader.num_workers=0' for name in ('train', 'val', 'test')),
    *(f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val', 'test')),
]

ENVIRONMENT = {
    **os.environ,
    'PYTHON': sys.executable,
    'GPUS_PER_NODE': '0',
    'NTASKS': '2',
    'CPUS_PER_TASK': '1',
    'SRUN_ARGS': '--time 4 --overcommit',
}


def slurm_answers() -> bool:
    if shutil.which('sinfo') is None:
        return False
    try:
        found = subprocess.run(['sinfo', '-h', '-o', '%t'], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return False
    return found.returncode == 0 and any(state in found.stdout for state in ('idle', 'mix', 'alloc'))


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """A running Slurm: one that is there already, or one that is started for these tests and stopped after them."""
    if slurm_answers():
        yield
        return
    if not LOCAL_SLURM.is_file():
        pytest.skip('no script that starts a local Slurm beside this checkout')
    if os.geteuid() != 0 or (shutil.which('slurmctld') is None and shutil.which('apt-get') is None):
        pytest.skip('starting a local Slurm needs root, and its packages or apt-get')
    state = tmp_path_factory.mktemp('slurm')
    environment = {**os.environ, 'SLURM_LOCAL': str(state), 'DEBIAN_FRONTEND': 'noninteractive'}
    output = state / 'start.log'

    def control(verb: str, limit: int) -> int:
        with output.open('a') as log:  # a file: the daemons keep it open, and nobody may wait for its end
            command = ['bash', str(LOCAL_SLURM), verb]
            streams = {'stdin': subprocess.DEVNULL, 'stdout': log, 'stderr': subprocess.STDOUT}
            try:
                return subprocess.run(command, env=environment, timeout=limit, check=False, **streams).returncode
            except subprocess.TimeoutExpired:
                return 124

    status = control('start', 240)
    try:
        if status != 0 or not slurm_answers():
            pytest.skip(f'Slurm cannot be installed or started here: {output.read_text()[-300:]!r}')
        yield
        subprocess.run(['scancel', '--me'], capture_output=True, timeout=20, check=False)
    finally:
        daemons = [*state.glob('*.pid'), Path('/run/munge/munged.pid')]
        daemons = [Path('/proc') / path.read_text().strip() for path in daemons if path.exists()]
        control('stop', 30)
        deadline = time.monotonic() + 20
        while any(process.exists() for process in daemons) and time.monotonic() < deadline:
            time.sleep(0.2)


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'easy'
    command = ['tools/dataset_converters/synthetic.py', '--level', 'easy', '--out', str(folder), '--workers', '1']
    counts = ['--train', '6', '--val', '5', '--testA', '2', '--testB', '2']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    subprocess.run([sys.executable, *command, *counts], cwd=ROOT, env=environment, check=True, capture_output=True)
    return folder


def run(script: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['bash', str(ROOT / 'tools' / script), 'test', 'mmmagnet', *map(str, arguments)],
        cwd=cwd,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )


def test_train_and_test(slurm, data_root, tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    shared = ['--data-root', data_root, '--cfg-options', *OPTIONS]
    training = run('slurm_train.sh', CONFIG, 'work', *shared, cwd=elsewhere)
    assert training.returncode == 0, training.stdout[-4000:]
    checkpoint = Path((elsewhere / 'work' / 'last_checkpoint').read_text().strip())
    assert checkpoint.is_file()
    assert training.stdout.count('Checkpoints will be saved to') == 1  # one process leads
    assert 'Distributed training: True' in training.stdout
    assert 'GPU number: 2' in training.stdout  # MMEngine's word for processes

    scoring = run(
        'slurm_test.sh', CONFIG, checkpoint, '--split', 'val', '--metrics-out', 'scores.json', *shared, cwd=elsewhere
    )
    assert scoring.returncode == 0, scoring.stdout[-4000:]
    refs = [json.loads(line) for line in (data_root / 'refs.jsonl').read_text().splitlines()]
    pairs = sum(len(ref['sentences']) for ref in refs if ref['split'] == 'val')
    assert json.loads((elsewhere / 'scores.json').read_text())['val']['metrics']['ref/pairs'] == pairs


def test_failing_task_fails_the_command(slurm, tmp_path):
    failing = run('slurm_train.sh', 'no_such_config.py', 'work', cwd=tmp_path)
    assert failing.returncode != 0
    assert 'error: no_such_config.py: no such config file' in failing.stdout


def job_state(job: str) -> str:
    shown = subprocess.run(
        ['scontrol', 'show', 'job', job], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    return shown.split('JobState=')[1].split()[0]


def wait_until(reached, what: str, log: Path, seconds: int = 240) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f'{what}: {log.read_text()[-3000:] if log.exists() else "no log"}'
        time.sleep(0.2)


def test_preempted_job_goes_on_and_equals_torchrun(slurm, tmp_path, monkeypatch):
    """A job of a better partition takes the node; the batch job is requeued, resumes and ends as if undisturbed."""
    monkeypatch.setitem(ENVIRONMENT, 'PYTHONPATH', str(ROOT / 'tests' / 'stress'))  # pausing_disk.py
    monkeypatch.setitem(ENVIRONMENT, 'SBATCH_ARGS', '--time 10 --overcommit')
    data = make_data(tmp_path / 'data')
    config = tmp_path / 'eventful.py'
    config.write_text(EVENTFUL)
    work, whole = tmp_path / 'a folder' / 'work', tmp_path / 'whole'
    work.parent.mkdir()
    submitted = run('sbatch_train.sh', config, 'work', '--data-root', data, cwd=work.parent)
    assert submitted.returncode == 0, submitted.stdout
    job = submitted.stdout.split()[-1]
    log = work / f'slurm-{job}.log'
    wait_until(lambda: (work / 'last_checkpoint').exists() or job_state(job) == 'FAILED', 'no checkpoint', log)
    assert (work / 'last_checkpoint').exists(), log.read_text()[-3000:]
    subprocess.run(['srun', '-p', 'high', '--exclusive', 'true'], timeout=120, check=True, capture_output=True)
    assert 'error: stopped by SIGTERM' in log.read_text()
    subprocess.run(['scontrol', 'update', f'JobId={job}', 'StartTime=now'], timeout=20, check=False)  # no pause first
    wait_until(lambda: job_state(job) in ('COMPLETED', 'FAILED', 'TIMEOUT'), 'not ended', log)
    assert job_state(job) == 'COMPLETED', log.read_text()[-3000:]
    assert log.read_text().count('resumed epoch: ') == 1

    undisturbed = start(command_of(config, data, whole, 2), tmp_path / 'whole.log')
    assert undisturbed.wait(300) == 0, (tmp_path / 'whole.log').read_text()[-3000:]
    assert_same_end(whole, work)
