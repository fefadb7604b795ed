"""What is installed: bounds of the requirements, the environment's versions, and what a wheel carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mmmagnet

ROOT = Path(__file__).parents[1]
INPUTS = ('setup.py', 'pyproject.toml', 'requirements.txt', 'README.md', 'LICENSE', 'MANIFEST.in', 'model-index.yml')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of this checkout: a build writes into its sources."""
    source = tmp_path_factory.mktemp('source')
    for name in INPUTS:
        shutil.copy(ROOT / name, source / name)
    for name in ('mmmagnet', 'configs', 'tools'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim'))
    return source


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    """A wheel of this checkout."""
    out = tmp_path_factory.mktemp('wheel')
    options = ['--no-deps', '--no-build-isolation', '--no-index', '--no-cache-dir', '--wheel-dir', str(out)]
    command = [sys.executable, '-m', 'pip', 'wheel', *options, str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def requirements(wheel):
    """The requirements that the wheel states, by the extra they belong to ('' for none)."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith('.dist-info/METADATA')]
        fields = Parser().parsestr(archive.read(name).decode())
    assert fields['Name'] == 'mmmagnet'
    assert fields['Version'] == mmmagnet.__version__
    assert fields['Requires-Python'] == '>=3.10'
    found: dict[str, list[Requirement]] = {'': [], **{extra: [] for extra in fields.get_all('Provides-Extra')}}
    for requirement in map(Requirement, fields.get_all('Requires-Dist')):
        extra = re.search(r'extra == "(\w+)"', str(requirement.marker))
        found[extra.group(1) if extra else ''].append(requirement)
    return found


def bounds(requirement: Requirement) -> set[str]:
    return {specifier.operator for specifier in requirement.specifier}


def test_every_requirement_is_bounded(requirements):
    assert set(requirements) == {
        '',
        'onedl',
        'openmmlab',
        'backbones',
        'parquet',
        'custom',
        'demo',
        'export',
        'docs',
        'dev',
    }
    for requirement in (requirement for group in requirements.values() for requirement in group):
        assert bounds(requirement) in ({'>=', '<'}, {'=='}), str(requirement)


def test_package_requires_neither_family(requirements):
    """onedl-mmengine and mmengine provide the same import name: requiring one would break those who have the other."""
    assert not [requirement.name for requirement in requirements[''] if 'mm' in requirement.name]
    families = [
        {requirement.name.removeprefix('onedl-') for requirement in requirements[name]}
        for name in ('onedl', 'openmmlab')
    ]
    assert families[0] == {'mmengine', 'mmcv', 'mmsegmentation'}
    assert families[0] <= families[1]


def test_default_environment_is_package_and_onedl(requirements):
    lines = [line for line in (ROOT / 'requirements.txt').read_text().splitlines() if line and not line.startswith('#')]
    stated = [Requirement(line) for line in lines]
    wanted = [(requirement.name, requirement.specifier) for name in ('', 'onedl') for requirement in requirements[name]]
    assert sorted((requirement.name, str(requirement.specifier)) for requirement in stated) == sorted(
        (name, str(specifier)) for name, specifier in wanted
    )


def test_wheel_carries_configs_tools_and_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, inside in (
        ('configs', 'mmmagnet/.mim/configs'),
        ('tools', 'mmmagnet/.mim/tools'),
        ('mmmagnet', 'mmmagnet'),
    ):
        files = [
            path.relative_to(ROOT / folder)
            for path in (ROOT / folder).rglob('*')
            if path.suffix in ('.py', '.sh', '.txt', '.yaml', '.json')
        ]
        files = [path for path in files if '.mim' not in path.parts]
        assert files
        assert {f'{inside}/{path.as_posix()}' for path in files} <= names
    tokenizer = 'mmmagnet/datasets/synthetic/tokenizer'
    assert {f'{tokenizer}/{name}' for name in ('vocab.txt', 'tokenizer.json', 'tokenizer_config.json')} <= names
    assert {'mmmagnet/py.typed', 'mmmagnet/.mim/model-index.yml'} <= names
    assert {name.split('/')[0].split('-')[0] for name in names} == {'mmmagnet'}
    assert not [name for name in names if '__pycache__' in name or name.endswith('.pyc')]


@pytest.mark.slow
def test_editable_install_links_what_the_wheel_carries(source, tmp_path):
    for _ in range(2):  # installed again
        code = f'from setuptools.build_meta import build_editable; build_editable({str(tmp_path)!r})'
        subprocess.run([sys.executable, '-c', code], cwd=source, check=True, capture_output=True)
    links = source / 'mmmagnet' / '.mim'
    assert sorted(path.name for path in links.iterdir()) == ['configs', 'model-index.yml', 'tools']
    assert (links / 'configs').resolve() == source / 'configs'


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """A folder with the installed wheel, and an environment that finds it."""
    target = tmp_path_factory.mktemp('site')
    options = ['--no-deps', '--no-index', '--no-compile', '--quiet', '--target', str(target)]
    subprocess.run([sys.executable, '-m', 'pip', 'install', *options, str(wheel)], check=True)
    return target, {**os.environ, 'PYTHONPATH': str(target)}


@pytest.mark.slow
def test_installed_wheel_works_away_from_the_checkout(installed, tmp_path):
    target, environment = installed
    code = (
        'import mmmagnet\n'
        'from mmmagnet.registry import MODELS, TRANSFORMS\n'
        'from mmmagnet.utils.config import load_config\n'
        "from mmengine.registry import init_default_scope; init_default_scope('mmseg')\n"
        "config = load_config('configs/magnet_tiny_synthetic.py')\n"
        'MODELS.build(config.model)\n'
        "[TRANSFORMS.build(step) for step in config.train_pipeline if step['type'] == 'TokenizeExpression']\n"
        "open('child.py', 'w').write('_base_ = \"mmmagnet::_base_/../magnet_tiny_synthetic.py\"')\n"
        "child = load_config('child.py')\n"
        'assert child.to_dict() == {**config.to_dict(), "work_dir": child.work_dir}\n'
        'print(mmmagnet.__file__)'
    )
    run = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.splitlines()[-1]).is_relative_to(target)


@pytest.mark.slow
def test_commands_of_mim(installed, tmp_path):
    """openmim 0.3.9 finds a config by its name, adds --gpus where the help has it, and runs the wheel's tools."""
    target, environment = installed
    inside = target / 'mmmagnet' / '.mim'
    configs = [path for path in (inside / 'configs').rglob('*.py') if not {'_base_', 'ablation'} & {*path.parts}]
    everywhere = Counter(path.name for path in (target / 'mmmagnet').rglob('*.py'))
    assert [path for path in configs if everywhere[path.name] != 1] == []
    (config,) = (str(path) for path in configs if path.name == 'magnet_tiny_synthetic.py')
    assert not any('--gpus' in (inside / 'tools' / name).read_text() for name in ('train.py', 'test.py'))
    sizes = [word for split in ('train', 'val', 'testA', 'testB') for word in (f'--{split}', '2')]
    options = ['train_cfg.max_epochs=1', *(f'{name}_dataloader.num_workers=0' for name in ('train', 'val'))]
    for tool, *arguments in (
        ('dataset_converters/synthetic.py', '--out', 'data', *sizes),
        ('train.py', config, '--launcher', 'none', '--data-root', 'data', '--cfg-options', *options),
    ):
        command = [sys.executable, str(inside / 'tools' / tool), *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / 'work_dirs' / 'magnet_tiny_synthetic' / 'epoch_1.pth').exists()


def test_licence_is_apache_2():
    text = (ROOT / 'LICENSE').read_text()
    assert 'Apache License' in text
    assert 'Version 2.0, January 2004' in text
    assert 'END OF TERMS AND CONDITIONS' in text
