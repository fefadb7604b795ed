"""The shell scripts: syntax, arguments, errors in one line, and an environment that is made once."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'magnet_tiny_synthetic.py'

# Stands in for an interpreter: it logs what it is given, fails on the command lines of `failing`, answers `-c` itself.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>"{log}"
case "$*" in {failing}) exit 1 ;; esac
case "$1" in -c | --version) exec "{real}" "$@" ;; esac
"""
OLD_PYTHON = '#!/bin/sh\n[ "$1" != --version ] || { echo Python 3.8.2; exit 0; }\nexit 1\n'
BARE_PYTHON = f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n'  # without any package


def execute(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **settings)


def run(script, *arguments, cwd=ROOT, **variables):
    """Run a script without the environment's own variables for Python and pip."""
    dropped = ('PIP_', 'PYTHON', 'MMMAGNET_VENV', 'VIRTUAL_ENV', 'CONDA_PREFIX')
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment.update({name: str(value) for name, value in variables.items()})
    return execute('bash', script, *arguments, cwd=cwd, env=environment, stdin=subprocess.DEVNULL)


def write_script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake_python(path, failing='nothing'):
    """An interpreter and the log of the arguments it is given."""
    log = path.parent / 'log'
    return write_script(path, FAKE_PYTHON.format(real=sys.executable, log=log, failing=failing)), log


def assert_one_line(result, *parts):
    assert result.returncode != 0
    assert result.stderr.startswith('error: ') and result.stderr.count('\n') == 1, result.stderr
    assert [part for part in parts if part not in result.stderr] == []


@pytest.fixture
def project(tmp_path):
    """What the scripts read, apart from this checkout and its .venv."""
    folder = tmp_path / 'project'
    shutil.copytree(ROOT / 'tools', folder / 'tools', ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('requirements.txt', 'setup.py', '.ci/run'):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize('script', [*sorted(ROOT.glob('tools/*.sh')), ROOT / '.ci/run'], ids=lambda path: path.name)
def test_syntax_and_shellcheck(script):
    shellcheck = shutil.which('shellcheck', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    command = [shellcheck, '-x'] if shellcheck else ['bash', '-n']
    result = execute(*command, script.relative_to(ROOT), cwd=ROOT)
    assert result.stdout + result.stderr == ''


@pytest.mark.parametrize(
    ('script', 'arguments', 'line'),
    [
        ('quickstart.sh', ['--device', 'tpu'], "invalid choice: 'tpu'"),
        ('dist_train.sh', ['config.py'], 'usage: bash tools/dist_train.sh CONFIG GPUS'),
        ('dist_train.sh', ['config.py', 'two'], 'GPUS is two: a number'),
        ('dist_test.sh', ['config.py', '2'], 'usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS'),
        ('slurm_train.sh', ['part', 'job', 'config.py'], 'slurm_train.sh PARTITION JOB CONFIG WORK_DIR'),
        ('slurm_test.sh', ['part', 'job', 'config.py'], 'slurm_test.sh PARTITION JOB CONFIG CHECKPOINT'),
        ('sbatch_train.sh', ['part', 'job', 'config.py'], 'sbatch_train.sh PARTITION JOB CONFIG WORK_DIR'),
        ('sbatch_train.sh', ['part', 'job', 'config.py', 'work'], 'error: config.py: no such config file'),
        ('sbatch_train.sh', ['part', 'job', CONFIG, 'work', '--resume'], 'error: --resume: this script'),
    ],
)
def test_wrong_arguments(project, script, arguments, line):
    result = run(project / 'tools' / script, *arguments)
    assert result.returncode == 2 and line in result.stderr
    assert not (project / '.venv').exists()


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_torchrun_is_started(project, tmp_path, tool):
    python, log = fake_python(tmp_path / 'bin' / 'python')
    arguments = ['config.py', *['a b.pth'] * (tool == 'test')]
    for variables in ({}, dict(NNODES=2, NODE_RANK=1, MASTER_ADDR='node0', PORT=29501)):  # one computer, several
        command = [project / f'tools/dist_{tool}.sh', *arguments, '2', '--amp']
        result = run(*command, cwd=tmp_path, PYTHON=python, CDPATH=f'{ROOT}:.', **variables)
        assert result.returncode == 0, result.stderr
    shared = f'--nproc-per-node 2 {project}/tools/{tool}.py {" ".join(arguments)} --amp --launcher pytorch'
    assert log.read_text().splitlines() == [
        f'-m torch.distributed.run --standalone --local-addr 127.0.0.1 {shared}',
        f'-m torch.distributed.run --nnodes 2 --node-rank 1 --master-addr node0 --master-port 29501 {shared}',
    ]


@pytest.mark.parametrize(
    ('variables', 'wanted'),
    [
        ({}, '--ntasks 8 --ntasks-per-node 8 --gres gpu:8 --cpus-per-task 5'),
        (dict(GPUS=4), '--ntasks 4 --ntasks-per-node 4 --gres gpu:4 --cpus-per-task 5'),
        (dict(GPUS_PER_NODE=4, CPUS_PER_TASK=2), '--ntasks 8 --ntasks-per-node 4 --gres gpu:4 --cpus-per-task 2'),
        (dict(GPUS_PER_NODE=0, NTASKS=2), '--ntasks 2 --cpus-per-task 5'),
    ],
)
@pytest.mark.parametrize('script', ['slurm_train.sh', 'sbatch_train.sh'])
def test_slurm_is_asked(tmp_path, script, variables, wanted):
    more = '--kill-on-bad-exit=1 --time 1' if script == 'slurm_train.sh' else '--requeue'
    for name in ('srun', 'sbatch'):
        write_script(tmp_path / 'bin' / name, f'#!/bin/sh\necho {name} "$@"\nexit 3\n')
    variables = {**variables, 'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'SRUN_ARGS': '--time 1'}
    result = run(ROOT / 'tools' / script, 'part', 'job', CONFIG, tmp_path / 'work', **variables)
    assert f'--partition part --job-name job {wanted} {more} ' in result.stdout
    assert ('--device cpu' in result.stdout) == ('NTASKS' in variables and script == 'slurm_train.sh')
    assert (result.returncode, result.stderr) == (3, '')  # Slurm's own
    assert not (tmp_path / 'work').exists()  # a job that is refused leaves no folder


@pytest.mark.parametrize('script', ['quickstart.sh', 'run_tests.sh'])
def test_no_python_to_use(project, tmp_path, script):
    script, old = project / 'tools' / script, tmp_path / 'old' / 'bin' / 'python'
    for name in ('python', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3'):
        write_script(old.with_name(name), OLD_PYTHON)
    needed = 'Python 3.10 or newer is needed'
    assert_one_line(run(script, PYTHON=old), needed, f'PYTHON={old}', '3.8.2')
    assert_one_line(run(script, PATH=f'{old.parent}:/usr/bin:/bin'), needed, 'PYTHON=/path/to/python')
    assert_one_line(run(script, PYTHON='no-such-python'), 'PYTHON=no-such-python: no such interpreter')
    assert_one_line(run(script, MMMAGNET_VENV=tmp_path / 'old'), needed, 'MMMAGNET_VENV')
    assert_one_line(run(script, MMMAGNET_VENV=tmp_path / 'none'), 'no bin/python there')


def test_environment_that_lacks_packages_stays_as_it_is(project):
    bare = write_script(project / '.venv' / 'bin' / 'python', BARE_PYTHON)
    result = run(project / 'tools' / 'quickstart.sh', PYTHON=sys.executable)
    assert_one_line(result, '.venv has no pip', f'MMMAGNET_VENV={project}/.venv')
    result = run(project / 'tools' / 'run_tests.sh', MMMAGNET_VENV=project / '.venv')
    assert_one_line(result, 'lacks one of torch', 'pytest', f"pip install -e '{project}[onedl,dev]'")
    assert bare.read_text() == BARE_PYTHON


def test_what_the_venv_module_cannot_make_is_removed(project, tmp_path):
    python, _ = fake_python(tmp_path / 'bin' / 'python', '*"-m venv"*')
    result = run(project / 'tools' / 'quickstart.sh', PYTHON=python)
    assert_one_line(result, f'cannot make {project}/.venv (see above)')
    assert not (project / '.venv').exists()


@pytest.mark.parametrize('change', [False, True])
@pytest.mark.parametrize('script', ['quickstart', 'run_tests'])
@pytest.mark.parametrize('made_by', ['quickstart', 'run_tests'])
def test_environment_is_made_once(project, made_by, script, change):
    _, log = fake_python(project / '.venv' / 'bin' / 'python')
    assert run(project / f'tools/{made_by}.sh', PYTHON=sys.executable).returncode == 0
    lacks = change or (made_by, script) == ('quickstart', 'run_tests')  # the tests need more packages
    extras = '[onedl]' if script == 'quickstart' else '[onedl,dev]'
    if change:
        (project / 'requirements.txt').write_text('another>=1,<2\n')
    for expected in ([f'{project}{extras}'] * lacks, []):  # what is installed anew is installed once
        log.write_text('')
        assert run(project / f'tools/{script}.sh', PYTHON=sys.executable).returncode == 0
        assert [line.split()[-1] for line in log.read_text().splitlines() if '-m pip install' in line] == expected


def test_failed_installation_is_tried_again(project):
    _, log = fake_python(project / '.venv' / 'bin' / 'python', '*"pip install"*')
    for _ in range(2):
        log.unlink(missing_ok=True)
        assert_one_line(run(project / 'tools' / 'quickstart.sh', PYTHON=sys.executable), 'the installation failed')
        assert '-m pip install' in log.read_text()


@pytest.mark.parametrize('failing', ['ruff check', 'ruff format', 'mypy', 'mkdocs', 'pytest'])
@pytest.mark.parametrize('command', ['tools/run_tests.sh one', 'tools/run_tests.sh --all one', '.ci/run'])
def test_each_check_is_reported(project, tmp_path, command, failing):
    _, log = fake_python(tmp_path / 'env' / 'bin' / 'python', f'*"-m {failing}"*')
    script, *arguments = command.split()
    every = arguments != ['one']  # the slow tests and the docs, too
    result = run(project / script, *arguments, cwd=tmp_path, MMMAGNET_VENV=tmp_path / 'env')
    names = ['ruff check', 'ruff format', 'mypy', *['mkdocs'] * every, 'pytest']
    reports = re.findall(r'^(.{12}) (passed|FAILED) in \d+ s$', result.stdout, re.MULTILINE)
    assert reports == [(f'{name:<12}', 'FAILED' if name == failing else 'passed') for name in names]
    assert result.returncode == (failing in names)
    *_, line = log.read_text().splitlines()
    assert line.startswith('-m pytest') and line.endswith(' '.join(arguments[-1:]))
    assert ('not slow' in line) != every
