"""Blocks of the docs say how they are tested, and name files, flags and settings that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from blocks import PAGES, ROOT, block_with, blocks_of, code_blocks
from mmengine.config import Config

from mmmagnet.utils.config import load_config

BLOCKS = code_blocks()
SHELL = [block for block in BLOCKS if block.language == 'bash']
COMMAND = re.compile(r'(?:python|bash) ((?:tools|tests|configs|docs)/\S+\.(?:py|sh))')


def commands(code: str) -> list[list[str]]:
    """The commands of a shell block as words, comments and continuations taken away."""
    lines = code.replace('\\\n', ' ').splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize('block', BLOCKS, ids=lambda block: block.name)
def test_comment(block):
    """A block runs, names the test that runs it, or has a reason."""
    if block.runs:
        return
    kind, _, about = block.comment.partition(': ')
    assert kind in ('tested by', 'not run'), block.comment
    for file in re.findall(r'tests/[\w/]+\.py', about):
        assert (ROOT / file).is_file()
    if kind == 'tested by':
        file, _, test = about.partition('::')
        assert f'def {test}(' in (ROOT / file).read_text() if test else (ROOT / file).is_file()
    else:
        assert len(about) > 10


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_paths_exist(page):
    """Paths of the project that a page names anywhere are there; `{a,b}` and `*` are not expanded."""
    text = page.read_text(encoding='utf-8')
    named = set(re.findall(r'(?<![\w/.])(?:configs|tools|tests|mmmagnet|docker)/[\w/+.]*\w/?', text))
    assert [name for name in sorted(named) if not (ROOT / name).exists() and name != 'mmmagnet/.mim'] == []
    listed = re.findall(r'`((?:magnet|lavt)_[\w+]+\.py)`', text)
    folders = [ROOT / 'configs', ROOT / 'configs/mix', ROOT / 'configs/ablation']
    assert [name for name in listed if not any((folder / name).exists() for folder in folders)] == []


@pytest.mark.parametrize('block', SHELL, ids=lambda block: block.name)
def test_flags_and_settings_exist(block):
    for words in commands(block.code):
        found = COMMAND.search(' '.join(words))
        if found is None:
            continue
        tool = ROOT / found[1]
        sources = [tool.read_text(), *(path.read_text() for path in tool.parent.glob('_*.py'))]
        if tool.name in ('dist_train.sh', 'slurm_train.sh', 'sbatch_train.sh'):
            sources.append((ROOT / 'tools/train.py').read_text())
        if tool.name == 'quickstart.sh':
            continue
        flags = [word for word in words if re.match(r'--[a-z]', word)]
        assert [flag for flag in flags if not any(f"'{flag}'" in source for source in sources)] == []
        configs = [word for word in words if re.fullmatch(r'configs/\S+\.py', word)]
        settings = words[words.index('--cfg-options') + 1 :] if '--cfg-options' in words else []
        if settings and configs and 'ablation' not in tool.parts:
            check_settings(Config.fromfile(ROOT / configs[0]), settings)


def check_settings(config: Config, settings: list[str]) -> None:
    """Every NAME=VALUE names a part that the config has; the last step may be new."""
    for setting in settings:
        if setting.startswith('--'):
            break
        *parents, last = setting.partition('=')[0].split('.')
        part = config
        for step in parents:
            part = part[int(step) if step.isdecimal() else step]
        assert last


def test_readme_is_short():
    lines = (ROOT / 'README.md').read_text(encoding='utf-8').splitlines()
    assert len(lines) <= 120
    order = [
        '## Install',
        '## First masks',
        '## Methods',
        '## Train',
        '## Add Mask Grounding',
        '## Docs',
        '## Cite',
        '## Lic',
    ]
    places = [next(index for index, line in enumerate(lines) if line.startswith(head)) for head in order]
    assert places == sorted(places)


def test_pages_that_the_code_names_exist():
    named = set()
    for folder in ('mmmagnet', 'configs', 'tools', 'docker', '.github'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and path.suffix in ('.py', '.sh', '.yml', '.yaml', '.md', '', '.Dockerfile'):
                named |= set(re.findall(r'docs/[\w/]+\.md', path.read_text(encoding='utf-8')))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short(page):
    """At most 25 words, as docs/style.md says; code, tables, headings and lists of links apart."""
    text = re.sub(r'^```.*?^```$', '\n\n', page.read_text(encoding='utf-8'), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r'^(?:[|<#]|!\[|\[!|:::|.* · ).*$', '\n', text, flags=re.MULTILINE)
    for paragraph in re.split(r'\n\s*\n|\n(?=- |\d+\. )', text):
        for sentence in re.split(r'(?<=[.:?])\s+', paragraph):
            assert len(sentence.split()) <= 25, sentence


def test_figures_are_what_the_script_draws():
    script = ROOT / 'docs/figures/architecture.py'
    names: dict = {'__name__': 'architecture', '__file__': str(script)}
    exec(compile(script.read_text(), str(script), 'exec'), names)
    for name, draw in names['FIGURES'].items():
        assert (script.parent / name).read_text(encoding='utf-8') == draw()


def test_magnet_config_is_the_docs():
    """The config that docs/methods/magnet.md shows is part of configs/magnet_swin_b.py."""
    shown: dict = {}
    exec(block_with('docs/methods/magnet.md', "type='ReferringSegmentor'"), shown)
    real = Config.fromfile(ROOT / 'configs/magnet_swin_b.py').model
    assert_part(shown['model'], real)


def assert_part(shown: object, real: object) -> None:
    """All that is shown is in the real config, with the same values."""
    if isinstance(shown, dict):
        for name, value in shown.items():
            assert_part(value, real[name])  # type: ignore[index]
    elif isinstance(shown, list):
        for value, other in zip(shown, real, strict=True):  # type: ignore[call-overload]
            assert_part(value, other)
    else:
        assert shown == real


def test_lavt_config_is_the_docs():
    shown = block_with('docs/methods/lavt.md', '_base_')
    assert shown in (ROOT / 'configs/_base_/models/lavt_base.py').read_text()


def test_checkpointing_settings():
    shown: dict = {}
    exec(block_with('docs/memory_speed.md', 'block by block'), shown)
    assert_part(shown['model'], Config.fromfile(ROOT / 'configs/magnet_swin_b_24gb.py').model)


def test_gates():
    """The hook of docs/methods/magnet.md finds the gates of the miniature."""
    code = block_with('docs/methods/magnet.md', 'class Gates').partition('\n\n\nrunner = ')[0]
    names: dict = {}
    exec(code, names)
    from types import SimpleNamespace

    from mmengine.registry import init_default_scope

    from mmmagnet.registry import MODELS

    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(ROOT / 'configs/magnet_tiny_synthetic.py')).model)
    names['Gates']().after_train_iter(SimpleNamespace(iter=0, model=model), 0)
    assert all(not stage.text_gate.outer.weight.any() for stage in model.neck.stages)


def test_every_page_is_in_the_navigation():
    site = (ROOT / 'mkdocs.yml').read_text()
    for page in (ROOT / 'docs').rglob('*.md'):
        assert page.relative_to(ROOT / 'docs').as_posix() in site
    assert blocks_of(Path(ROOT / 'docs/style.md')) == []
