"""The shell scripts: syntax, arguments, errors in one line, and an environment that is made once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / 'tools').glob('*.sh')), ROOT / '.ci' / 'run']

# Stands in for an interpreter: it logs what it is given, fails on the command lines of `failing`, answers `-c` itself.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in {failing}) exit 1 ;; esac
case "$1" in -c | --version) exec "{real}" "$@" ;; esac
"""
OLD_PYTHON = '#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.8.2; exit 0; }\nexit 1\n'


def run(script: str | Path, *arguments: str | Path, cwd: Path = ROOT, **variables: str | Path):
    """Run a script without the environment's own variables for Python and pip."""
    dropped = ('PIP_', 'PYTHON', 'MMMAGNET_VENV', 'VIRTUAL_ENV', 'CONDA_PREFIX')
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment.update({name: str(value) for name, value in variables.items()})
    return subprocess.run(
        ['bash', script, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(path: Path, failing: str = 'nothing') -> tuple[Path, Path]:
    """An interpreter and the log of the arguments it is given."""
    log = path.parent / 'log'
    return write_script(path, FAKE_PYTHON.format(real=sys.executable, log=log, failing=failing)), log


def assert_one_line(result: subprocess.CompletedProcess, *parts: str) -> None:
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith('error: ')
    for part in parts:
        assert part in result.stderr


@pytest.fixture
def project(tmp_path):
    """What the scripts read, apart from this checkout and its .venv."""
    folder = tmp_path / 'project'
    shutil.copytree(ROOT / 'tools', folder / 'tools', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('requirements.txt', 'setup.py'):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_syntax_and_shellcheck(script):
    assert subprocess.run(['bash', '-n', script], capture_output=True, text=True, check=False).stderr == ''
    shellcheck = shutil.which('shellcheck', path=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    if shellcheck is None:
        pytest.skip('shellcheck is not installed')
    command = [shellcheck, '-x', script.relative_to(ROOT)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout == ''


def test_glue_stays_small():
    glue = ('quickstart.sh', '_environment.sh', '_launch.sh')
    assert sum(len((ROOT / 'tools' / name).read_text().splitlines()) for name in glue) <= 200


@pytest.mark.parametrize(
    ('script', 'arguments', 'line'),
    [
        ('quickstart.sh', ['--device', 'tpu'], "invalid choice: 'tpu'"),
        ('quickstart.sh', ['--smoke', '--long'], 'not allowed with argument'),
        ('dist_train.sh', ['config.py'], 'usage: bash tools/dist_train.sh CONFIG GPUS'),
        ('dist_train.sh', ['config.py', 'two'], 'GPUS is two: a number'),
        ('dist_test.sh', ['config.py', '2'], 'usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', ['part', 'job', 'config.py'], 'slurm_train.sh PARTITION JOB CONFIG WORK_DIR'),
        ('slurm_test.sh', ['part', 'job', 'config.py'], 'slurm_test.sh PARTITION JOB CONFIG CHECKPOINT'),
        ('sbatch_train.sh', ['part', 'job', 'config.py'], 'sbatch_train.sh PARTITION JOB CONFIG WORK_DIR'),
        ('sbatch_train.sh', ['part', 'job', 'config.py', 'work'], 'error: config.py: no such config file'),
        ('sbatch_train.sh', ['part', 'job', ROOT / 'setup.py', 'work', '--resume'], 'error: --resume: this script'),
    ],
)
def test_wrong_arguments(project, script, arguments, line):
    result = run(project / 'tools' / script, *arguments)
    assert result.returncode == 2
    assert line in result.stderr
    assert not (project / '.venv').exists()


@pytest.mark.parametrize(
    ('script', 'arguments', 'variables', 'line'),
    [
        (
            'dist_train.sh',
            ['config.py', '2', '--amp'],
            {},
            '-m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2 '
            'tools/train.py config.py --amp --launcher pytorch',
        ),
        (
            'dist_test.sh',
            ['config.py', 'a b.pth', '4'],
            {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'node0', 'PORT': '29501'},
            '-m torch.distributed.run --nnodes 2 --node-rank 1 --master-addr node0 --master-port 29501 '
            '--nproc-per-node 4 tools/test.py config.py a b.pth --launcher pytorch',
        ),
    ],
)
def test_torchrun_is_started(project, tmp_path, script, arguments, variables, line):
    python, log = fake_python(tmp_path / 'bin' / 'python')
    result = run(project / 'tools' / script, *arguments, cwd=tmp_path, PYTHON=python, CDPATH=f'{ROOT}:.', **variables)
    assert result.returncode == 0, result.stderr
    assert log.read_text() == line.replace('tools/', f'{project}/tools/') + '\n'


@pytest.mark.parametrize(
    ('script', 'variables', 'wanted'),
    [
        ('slurm_train.sh', {}, '--ntasks 8 --ntasks-per-node 8 --gres gpu:8 --cpus-per-task 5'),
        ('slurm_train.sh', {'GPUS': '4'}, '--ntasks 4 --ntasks-per-node 4 --gres gpu:4 --cpus-per-task 5'),
        (
            'sbatch_train.sh',
            {'GPUS': '8', 'GPUS_PER_NODE': '4', 'CPUS_PER_TASK': '2', 'SBATCH_ARGS': '--time 1'},
            '--ntasks 8 --ntasks-per-node 4 --gres gpu:4 --cpus-per-task 2 --requeue',
        ),
        ('slurm_train.sh', {'GPUS_PER_NODE': '0', 'NTASKS': '2'}, '--ntasks 2 --cpus-per-task 5'),
    ],
)
def test_slurm_is_asked(tmp_path, script, variables, wanted):
    for name in ('srun', 'sbatch'):
        write_script(tmp_path / 'bin' / name, f'#!/bin/sh\necho {name} "$@"\n')
    path = f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}'
    config = ROOT / 'configs/magnet_tiny_synthetic.py'
    result = run(ROOT / 'tools' / script, 'part', 'job', config, tmp_path / 'work', PATH=path, **variables)
    assert f'--partition part --job-name job {wanted} ' in result.stdout
    assert ('--device cpu' in result.stdout) == (variables.get('GPUS_PER_NODE') == '0')


def test_a_job_that_slurm_refuses_leaves_no_folder(tmp_path):
    refusal = '#!/bin/sh\necho "sbatch: error: invalid partition" >&2\nexit 1\n'
    sbatch = write_script(tmp_path / 'bin' / 'sbatch', refusal)
    path = f'{sbatch.parent}{os.pathsep}{os.environ["PATH"]}'
    config = ROOT / 'configs/magnet_tiny_synthetic.py'
    result = run(ROOT / 'tools/sbatch_train.sh', 'part', 'job', config, tmp_path / 'work', PATH=path)
    assert (result.returncode, result.stderr) == (1, 'sbatch: error: invalid partition\n')
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('script', ['quickstart.sh', 'run_tests.sh'])
def test_no_python_to_use(project, tmp_path, script):
    script = project / 'tools' / script
    old = write_script(tmp_path / 'old' / 'bin' / 'python', OLD_PYTHON)
    for name in ('python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3'):
        write_script(old.with_name(name), OLD_PYTHON)
    needed = 'Python 3.10 or newer is needed'
    assert_one_line(run(script, PYTHON=old), needed, f'PYTHON={old}', '3.8.2')
    assert_one_line(run(script, PATH=f'{old.parent}:/usr/bin:/bin'), needed, 'PYTHON=/path/to/python')
    assert_one_line(run(script, PYTHON='no-such-python'), 'PYTHON=no-such-python: no such interpreter')
    assert_one_line(run(script, MMMAGNET_VENV=tmp_path / 'old'), needed, 'MMMAGNET_VENV')
    assert_one_line(run(script, MMMAGNET_VENV=tmp_path / 'none'), 'no bin/python there')


def test_environment_that_lacks_packages(project, tmp_path):
    write_script(tmp_path / 'env' / 'bin' / 'python', f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    result = run(project / 'tools' / 'run_tests.sh', MMMAGNET_VENV=tmp_path / 'env')
    assert_one_line(result, 'lacks one of torch', 'pytest', f"pip install -e '{project}[onedl,dev]'")


def test_an_environment_without_pip_stays(project):
    other = write_script(project / '.venv' / 'bin' / 'python', f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    result = run(project / 'tools' / 'quickstart.sh', PYTHON=sys.executable)
    assert_one_line(result, '.venv has no pip', f'MMMAGNET_VENV={project}/.venv')
    assert other.is_file()


def test_what_the_venv_module_cannot_make_is_removed(project, tmp_path):
    python, _ = fake_python(tmp_path / 'bin' / 'python', '*"-m venv"*')
    result = run(project / 'tools' / 'quickstart.sh', PYTHON=python)
    assert_one_line(result, f'cannot make {project}/.venv (see above)')
    assert not (project / '.venv').exists()


@pytest.mark.parametrize(
    ('made_by', 'script', 'change', 'installs'),
    [
        ('quickstart.sh', 'quickstart.sh', False, ''),
        ('run_tests.sh', 'quickstart.sh', False, ''),
        ('run_tests.sh', 'run_tests.sh', False, ''),
        ('quickstart.sh', 'run_tests.sh', False, '[onedl,dev]'),
        ('quickstart.sh', 'quickstart.sh', True, '[onedl]'),
        ('run_tests.sh', 'run_tests.sh', True, '[onedl,dev]'),
    ],
)
def test_environment_is_made_once(project, made_by, script, change, installs):
    _, log = fake_python(project / '.venv' / 'bin' / 'python')
    assert run(project / 'tools' / made_by, PYTHON=sys.executable).returncode == 0
    if change:
        requirements = project / 'requirements.txt'
        requirements.write_text(requirements.read_text() + 'another>=1,<2\n')
    for expected in (installs, ''):  # what is installed anew is installed once
        log.write_text('')
        assert run(project / 'tools' / script, PYTHON=sys.executable).returncode == 0
        installed = [line for line in log.read_text().splitlines() if '-m pip install' in line]
        assert [line.split()[-1] for line in installed] == ([f'{project}{expected}'] if expected else [])


def test_failed_installation_is_tried_again(project):
    _, log = fake_python(project / '.venv' / 'bin' / 'python', '*"pip install"*')
    for _ in range(2):
        log.unlink(missing_ok=True)
        assert_one_line(run(project / 'tools' / 'quickstart.sh', PYTHON=sys.executable), 'the installation failed')
        assert '-m pip install' in log.read_text()


@pytest.mark.parametrize('failing', ['ruff check', 'ruff format', 'mypy', 'pytest'])
@pytest.mark.parametrize('slow', [False, True])
def test_run_tests_reports_each_check(tmp_path, failing, slow):
    _, log = fake_python(tmp_path / 'env' / 'bin' / 'python', f'*"-m {failing}"*')
    arguments = ['--all'] * slow + ['tests/test_configs.py']
    result = run(ROOT / 'tools' / 'run_tests.sh', *arguments, cwd=tmp_path, MMMAGNET_VENV=tmp_path / 'env')
    assert result.returncode == 1
    assert result.stdout.count(' passed in ') == (4 if slow else 3)  # the slow ones build the docs, too
    assert f'{failing:<12} FAILED in ' in result.stdout
    *_, pytest_line = log.read_text().splitlines()
    assert pytest_line.startswith('-m pytest') and pytest_line.endswith(' tests/test_configs.py')
    assert ('not slow' in pytest_line) != slow


def test_ci_runs_all(project, tmp_path):
    (project / '.ci').mkdir()
    shutil.copy(ROOT / '.ci' / 'run', project / '.ci' / 'run')
    _, log = fake_python(tmp_path / 'env' / 'bin' / 'python')
    assert run(project / '.ci' / 'run', cwd=tmp_path, MMMAGNET_VENV=tmp_path / 'env').returncode == 0
    assert 'not slow' not in log.read_text()
