"""The shell scripts: their syntax, their errors in one line each, what a second run reuses, and a whole smoke run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / 'tools').glob('*.sh')), ROOT / '.ci' / 'run']

# Stands in for an environment's Python: the real one answers `-c`, the tools leave files as the real ones do.
FAKE_PYTHON = """#!/bin/sh
case "$1" in -c | --version) exec "{real}" "$@" ;; esac
echo "$*" >>"{log}"
for part in "$@"; do [ -z "$take" ] || {{ work=$part; take=; }}; [ "$part" != --work-dir ] || take=1; done
case "$*" in
  {failing}) echo "{says}"; exit {status} ;;
  *tools/train.py*)
    touch "$work/epoch_2.pth" "$work/best_ref_oIoU_epoch_1.pth"
    echo "$work/epoch_2.pth" >"$work/last_checkpoint" ;;
esac
"""


def run(script: str | Path, *arguments: str | Path, cwd: Path = ROOT, **variables: str | Path | None):
    """Run a script without the environment's own variables for Python and pip; None leaves one out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(('PIP_', 'PYTHON'))}
    environment.pop('MMMAGNET_VENV', None)
    environment.update({name: str(value) for name, value in variables.items() if value is not None})
    return subprocess.run(
        ['bash', script, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def copy_project(folder: Path) -> Path:
    """What the scripts read, apart from this checkout and its .venv."""
    for name in ('tools', 'configs'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('requirements.txt', 'setup.py'):
        shutil.copy(ROOT / name, folder / name)
    return folder


def fake_environment(folder: Path, failing: str = 'nothing', says: str = '', status: int = 1) -> tuple[Path, Path]:
    """An environment whose Python fails on the command lines that match `failing`, and the log of those it is given."""
    log = folder.parent / f'{folder.name}.log'
    text = FAKE_PYTHON.format(real=sys.executable, log=log, failing=failing, says=says, status=status)
    write_script(folder / 'bin' / 'python', text)
    return folder, log


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / 'project')


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_syntax(script):
    assert subprocess.run(['bash', '-n', script], capture_output=True, text=True, check=False).stderr == ''


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shellcheck(script):
    shellcheck = shutil.which('shellcheck', path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    if shellcheck is None:
        pytest.skip('shellcheck is not installed')
    found = subprocess.run(
        [shellcheck, '-x', script.relative_to(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ''


@pytest.mark.parametrize(
    ('script', 'arguments', 'line'),
    [
        ('quickstart.sh', ['--device', 'tpu'], '--device is cpu or cuda'),
        ('quickstart.sh', ['--work-dir'], '--work-dir needs a folder'),
        ('quickstart.sh', ['--fast'], 'unknown argument --fast'),
        ('dist_train.sh', ['config.py'], 'usage: bash tools/dist_train.sh CONFIG GPUS'),
        ('dist_train.sh', ['config.py', 'two'], 'GPUS is two: a number'),
        ('dist_test.sh', ['config.py', '2'], 'usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS'),
        (
            'slurm_train.sh',
            ['part', 'job', 'config.py'],
            'usage: bash tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR',
        ),
        (
            'sbatch_train.sh',
            ['part', 'job', 'config.py'],
            'usage: bash tools/sbatch_train.sh PARTITION JOB CONFIG WORK_DIR',
        ),
        ('sbatch_train.sh', ['part', 'job', 'config.py', 'work'], 'error: config.py: no such config file'),
        (
            'slurm_test.sh',
            ['part', 'job', 'config.py'],
            'usage: bash tools/slurm_test.sh PARTITION JOB CONFIG CHECKPOINT',
        ),
    ],
)
def test_wrong_arguments(script, arguments, line):
    result = run(ROOT / 'tools' / script, *arguments)
    assert result.returncode == 2
    assert line in result.stderr


def test_a_job_that_slurm_refuses_leaves_no_folder(tmp_path):
    sbatch = write_script(
        tmp_path / 'bin' / 'sbatch', '#!/bin/sh\necho "sbatch: error: invalid partition" >&2\nexit 1\n'
    )
    result = run(
        ROOT / 'tools/sbatch_train.sh',
        'part',
        'job',
        ROOT / 'configs/magnet_tiny_synthetic.py',
        tmp_path / 'work',
        PATH=f'{sbatch.parent}{os.pathsep}{os.environ["PATH"]}',
    )
    assert (result.returncode, result.stderr) == (1, 'sbatch: error: invalid partition\n')
    assert not (tmp_path / 'work').exists()


def assert_one_line(result: subprocess.CompletedProcess, *parts: str) -> None:
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith('error: ')
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize('script', ['quickstart.sh', 'run_tests.sh'])
def test_old_python_by_name(project, tmp_path, script):
    old = write_script(tmp_path / 'old', '#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.8.2; exit 0; }\nexit 1\n')
    result = run(project / 'tools' / script, PYTHON=old)
    assert_one_line(result, 'Python 3.10 or newer is needed', '3.8.2')


def test_old_python_on_the_path(project, tmp_path):
    for name in ('python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3', 'python'):
        write_script(
            tmp_path / 'bin' / name, '#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.9.1; exit 0; }\nexit 1\n'
        )
    result = run(project / 'tools' / 'quickstart.sh', PATH=f'{tmp_path / "bin"}:/usr/bin:/bin')
    assert_one_line(result, 'Python 3.10 or newer is needed', 'Python 3.9.1')


def test_no_such_python(project):
    assert_one_line(run(project / 'tools' / 'quickstart.sh', PYTHON='no-such-python'), 'PYTHON=no-such-python')


@pytest.mark.parametrize('script', ['quickstart.sh', 'run_tests.sh'])
def test_an_environment_of_another_program_stays(project, script):
    other = write_script(project / '.venv' / 'bin' / 'python', f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    assert_one_line(run(project / 'tools' / script, PYTHON=sys.executable), '.venv has no pip', 'MMMAGNET_VENV=.venv')
    assert other.is_file()


@pytest.mark.parametrize(
    ('lacking', 'line'),
    [("*'import venv'*", 'has no venv module'), ('*ensurepip* | *"-m pip"*', 'has neither ensurepip nor pip')],
)
def test_parts_of_python_missing(project, tmp_path, lacking, line):
    text = f'#!/bin/sh\ncase "$*" in {lacking}) exit 1 ;; esac\nexec "{sys.executable}" "$@"\n'
    partial = write_script(tmp_path / 'partial', text)
    assert_one_line(run(project / 'tools' / 'quickstart.sh', PYTHON=partial), line, 'python3-venv')


def test_no_network(project):
    with socket.socket() as taken:  # bound, but it does not listen: connections are refused
        taken.bind(('127.0.0.1', 0))
        result = run(
            project / 'tools' / 'quickstart.sh',
            PYTHON=sys.executable,
            PIP_CONFIG_FILE=os.devnull,
            PIP_INDEX_URL=f'http://127.0.0.1:{taken.getsockname()[1]}/simple',
            PIP_RETRIES='0',
        )
    assert_one_line(result, 'no network, or no package registry', '.venv/install.log')
    assert not list((project / '.venv').glob('*.stamp'))


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', str(folder)]
    if shutil.which('mount') is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip('a small disk cannot be mounted here')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_no_disk_for_the_environment(small_disk):
    project = copy_project(small_disk / 'project')
    assert_one_line(run(project / 'tools' / 'quickstart.sh', PYTHON=sys.executable), 'no disk space', '3000 MB')


def test_full_disk(project, small_disk, tmp_path):
    environment, _ = fake_environment(tmp_path / 'env', '*synthetic.py*')
    subprocess.run(['sh', '-c', f'head -c 5000000 /dev/zero >{small_disk}/filler'], capture_output=True, check=False)
    result = run(project / 'tools' / 'quickstart.sh', '--work-dir', small_disk / 'work', MMMAGNET_VENV=environment)
    assert_one_line(result, 'cannot be written', 'disk')


@pytest.mark.parametrize(
    ('failing', 'says', 'parts'),
    [
        (
            '*synthetic.py*',
            'OSError: [Errno 28] No space left on device',
            ['data: ', 'no disk space is left', 'data.log'],
        ),
        ('*train.py*', 'error: configs/x.py: no such config file', ['training: ', 'no such config file', 'train.log']),
        ('*train.py*', 'RuntimeError: a shape is wrong', ['RuntimeError: a shape is wrong', 'train.log']),
        ('*--exchange*', 'something', ['scores: exit status 1', 'scores_swapped.log']),
    ],
)
def test_failing_step(project, tmp_path, failing, says, parts):
    environment, _ = fake_environment(tmp_path / 'env', failing, says)
    assert_one_line(run(project / 'tools' / 'quickstart.sh', MMMAGNET_VENV=environment), *parts)


def test_environment_that_lacks_packages(project, tmp_path):
    write_script(tmp_path / 'env' / 'bin' / 'python', f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    result = run(project / 'tools' / 'run_tests.sh', MMMAGNET_VENV=tmp_path / 'env')
    assert_one_line(result, 'lacks', 'torch', 'pytest')
    assert_one_line(run(project / 'tools' / 'quickstart.sh', MMMAGNET_VENV=tmp_path / 'none'), 'no bin/python')


def test_second_run_reuses(project, tmp_path):
    environment, log = fake_environment(tmp_path / 'env')
    quickstart = project / 'tools' / 'quickstart.sh'
    for trained in (True, False):
        log.write_text('')
        result = run(quickstart, MMMAGNET_VENV=environment)
        assert result.returncode == 0, result.stderr
        assert ('tools/train.py' in log.read_text()) == trained
        assert '/best_ref_oIoU_epoch_1.pth --data-root data/synthetic_easy' in log.read_text()
        assert ('finished earlier' in result.stdout) != trained


def test_paths_are_of_the_call(project, tmp_path):
    _, log = fake_environment(tmp_path / 'env')
    (tmp_path / 'tools').mkdir()
    result = run(
        'project/tools/quickstart.sh',
        *('--work-dir', 'work/', '--device', 'cpu'),
        cwd=tmp_path,
        MMMAGNET_VENV='env',
        CDPATH=f'{tmp_path / "env"}:.',
    )
    assert result.returncode == 0, result.stderr
    assert f'--work-dir {tmp_path / "work"} ' in log.read_text()
    assert '--device cpu' in next(line for line in log.read_text().splitlines() if 'train.py' in line)
    config = project / 'configs' / 'magnet_tiny_synthetic.py'
    config.write_text(config.read_text() + 'train_cfg = dict(max_epochs=9)\n')
    result = run(project / 'tools' / 'quickstart.sh', '--work-dir', 'work/', cwd=tmp_path, MMMAGNET_VENV='env')
    assert result.returncode == 0, result.stderr
    assert len(list(tmp_path.glob('work*/epoch_2.pth'))) == 2


def test_sigterm_ends_the_step(project, tmp_path):
    environment, _ = fake_environment(tmp_path / 'env')
    python = environment / 'bin' / 'python'
    started = tmp_path / 'started'
    sleep = f'case "$*" in *synthetic.py*) echo $$ >"{started}"; exec sleep 120 ;; esac'
    python.write_text(python.read_text().replace('#!/bin/sh\n', f'#!/bin/sh\n{sleep}\n'))
    process = subprocess.Popen(
        ['bash', project / 'tools' / 'quickstart.sh'],
        env={**os.environ, 'MMMAGNET_VENV': str(environment)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (started.is_file() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, 'stopped at the step "data: data/synthetic_easy"' in said) == (143, True)
    while time.monotonic() < deadline:  # it is ended a moment later
        try:
            os.kill(int(started.read_text()), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail('the step goes on')


def test_interrupted_training_goes_on(project, tmp_path):
    quickstart = project / 'tools' / 'quickstart.sh'
    broken, _ = fake_environment(tmp_path / 'broken', '*train.py*', 'interrupted', 130)
    result = run(quickstart, MMMAGNET_VENV=broken)
    assert result.returncode == 130
    assert 'the same command goes on' in result.stderr
    whole, log = fake_environment(tmp_path / 'whole')
    assert run(quickstart, MMMAGNET_VENV=whole).returncode == 0
    assert 'train.py configs/magnet_tiny_synthetic.py --work-dir work_dirs/quickstart' in log.read_text()
    assert '--resume' in log.read_text()


def test_other_settings_begin_anew(project, tmp_path):
    environment, log = fake_environment(tmp_path / 'env')
    quickstart = project / 'tools' / 'quickstart.sh'
    assert run(quickstart, MMMAGNET_VENV=environment).returncode == 0
    config = project / 'configs' / 'magnet_tiny_synthetic.py'
    config.write_text(config.read_text() + 'train_cfg = dict(max_epochs=9)\n')
    log.write_text('')
    result = run(quickstart, MMMAGNET_VENV=environment)
    assert 'other settings, now in work_dirs/quickstart.' in result.stdout
    assert 'tools/train.py' in log.read_text()
    assert len(list((project / 'work_dirs').glob('quickstart*/epoch_2.pth'))) == 2


def stamp(project: Path, kind: str) -> None:
    """Let .venv look finished, with a stamp that the scripts' own function writes."""
    text = subprocess.check_output(['bash', '-c', '. tools/_environment.sh; stamp_text'], cwd=project, text=True)
    (project / '.venv' / f'mmmagnet-{kind}.stamp').write_text(text)


@pytest.mark.parametrize(
    ('made_for', 'script', 'change', 'installs'),
    [
        ('run', 'quickstart.sh', False, False),
        ('dev', 'quickstart.sh', False, False),
        ('dev', 'run_tests.sh', False, False),
        ('run', 'run_tests.sh', False, True),
        ('run', 'quickstart.sh', True, True),
        ('dev', 'run_tests.sh', True, True),
    ],
)
def test_environment_is_made_once(project, made_for, script, change, installs):
    _, log = fake_environment(project / '.venv')
    stamp(project, made_for)
    if change:
        requirements = project / 'requirements.txt'
        requirements.write_text(requirements.read_text() + 'another>=1,<2\n')
    for expected in (installs, False):  # what is installed anew is installed once
        log.write_text('')
        result = run(project / 'tools' / script)
        assert result.returncode == 0, result.stderr
        assert ('-m pip' in log.read_text()) == expected


@pytest.mark.parametrize('failing', ['ruff check', 'ruff format', 'mypy', 'pytest'])
def test_run_tests_reports_each_check(project, failing):
    _, log = fake_environment(project / '.venv', f'*"{failing}"*', 'it failed')
    stamp(project, 'dev')
    result = run(project / 'tools' / 'run_tests.sh', 'tests/test_configs.py')
    assert result.returncode == 1
    assert result.stdout.count(' passed in ') == 3
    assert f'{failing:<12} FAILED in ' in result.stdout
    *_, pytest_line = log.read_text().splitlines()
    assert pytest_line.startswith('-m pytest') and pytest_line.endswith(' tests/test_configs.py')


def test_smoke(tmp_path):
    write_script(tmp_path / 'env' / 'bin' / 'python', f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    work = tmp_path / 'work'
    arguments = ['--smoke', '--device', 'cpu', '--work-dir', 'work']
    others = {'MMMAGNET_VENV': tmp_path / 'env', 'PYTHON': 'no-such-python'}  # the environment's own python counts
    result = run(ROOT / 'tools' / 'quickstart.sh', *arguments, cwd=tmp_path, **others)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (work / 'data' / 'refs.jsonl').is_file()
    scores = {split: entry['metrics'] for split, entry in json.loads((work / 'scores.json').read_text()).items()}
    assert list(scores) == ['val', 'testA', 'testB']
    assert all(0 <= metrics['ref/oIoU'] <= 100 and metrics['ref/pairs'] > 0 for metrics in scores.values())
    assert json.loads((work / 'scores_swapped.json').read_text())['val']['swap_expressions'] is True
    assert list((work / 'images').rglob('*.png'))
    *_, checkpoint, log, images = result.stdout.splitlines()
    for line, name in ((checkpoint, 'checkpoint'), (log, 'log'), (images, 'images')):
        assert line.split(maxsplit=1)[0] == name
        assert Path(line.split(maxsplit=1)[1]).exists()
    assert '| val, expressions exchanged | input ' in result.stdout
