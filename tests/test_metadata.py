"""What others read about the project: the model index, the citation, hooks and workflows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import mmmagnet

ROOT = Path(__file__).parents[1]
METAFILES = sorted((ROOT / 'configs').rglob('metafile.yaml'))
# RefCOCO val (gRefCOCO val), of the published numbers
PUBLISHED = {
    'configs/magnet_swin_b.py': 75.24,
    'configs/lavt_swin_b.py': 72.73,
    'configs/caris/caris_swin_b_refcoco.py': 75.13,
    'configs/rela/rela_swin_b_grefcoco.py': 62.42,
}


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text())


def test_model_index_names_every_metafile():
    assert [ROOT / name for name in read(ROOT / 'model-index.yml')['Import']] == METAFILES


@pytest.mark.parametrize('path', METAFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_metafile(path):
    content = read(path)
    collections = {collection['Name']: collection for collection in content['Collections']}
    assert {model['In Collection'] for model in content['Models']} == set(collections)
    for collection in collections.values():
        assert (ROOT / collection['README']).is_file()
        assert collection['Paper']['URL'].startswith(('https://arxiv.org/abs/', 'https://doi.org/'))
    names = [model['Name'] for model in content['Models']]
    assert len(set(names)) == len(names)
    for model in content['Models']:
        assert (ROOT / model['Config']).is_file()
        for result in model['Results']:
            assert result['Task'] == 'Referring Image Segmentation'
            assert set(result) - {'Published By Authors'} == {'Task', 'Dataset', 'Metrics'}
        if model['Config'] in PUBLISHED:
            assert model['Results'][0]['Published By Authors']['oIoU'] == PUBLISHED[model['Config']]


def test_citation():
    citation = read(ROOT / 'CITATION.cff')
    assert (citation['cff-version'], citation['version']) == ('1.2.0', mmmagnet.__version__)
    (paper,) = citation['references']
    assert paper['title'] == 'Mask Grounding for Referring Image Segmentation'
    assert [author['family-names'] for author in paper['authors']] == ['Chng', 'Zheng', 'Han', 'Qiu', 'Huang']
    assert f'## {mmmagnet.__version__}' in (ROOT / 'docs' / 'changelog.md').read_text()


def test_hooks_are_what_the_tests_run():
    (local,) = read(ROOT / '.pre-commit-config.yaml')['repos']
    assert local['repo'] == 'local'
    assert [hook['entry'].split(' --force')[0] for hook in local['hooks']][:3] == ['ruff check', 'ruff format', 'mypy']
    script = (ROOT / 'tools' / 'run_tests.sh').read_text()
    assert re.findall(r"^check '([^']+)'", script, flags=re.MULTILINE)[:3] == ['ruff check', 'ruff format', 'mypy']


def test_workflow_runs_ci_on_bounded_pythons():
    (job,) = read(ROOT / '.github' / 'workflows' / 'ci.yml')['jobs'].values()
    assert [step['run'] for step in job['steps'] if 'run' in step] == ['bash .ci/run']
    lowest = re.search(r"python_requires='>=(3\.\d+)'", (ROOT / 'setup.py').read_text())[1]
    assert job['strategy']['matrix']['python'][0] == lowest
    assert len(job['strategy']['matrix']['python']) == 2


def test_issue_templates():
    forms = [path for path in (ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml') if path.name != 'config.yml']
    assert {path.stem for path in forms} == {'bug', 'question', 'feature'}
    for path in forms:
        form = read(path)
        assert form['name'] and form['description']
        ids = [field['id'] for field in form['body']]
        assert len(set(ids)) == len(ids)


def test_contributing_is_found():
    link = re.search(r'\]\((\S+)\)', (ROOT / '.github' / 'CONTRIBUTING.md').read_text())[1]
    assert (ROOT / '.github' / link).resolve() == ROOT / 'docs' / 'contributing.md'
