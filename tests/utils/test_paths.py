"""Where models that configs name are found."""

import sys
from pathlib import Path

import pytest

import mmmagnet
from mmmagnet.utils import resolve_model_path
from mmmagnet.utils.errors import DataError


@pytest.mark.parametrize('name', ['bert-base-uncased', '/models/bert', 'models/bert', './x', ''])
def test_other_names_stay(name):
    assert resolve_model_path(name) == name


def test_folder_of_a_package():
    folder = Path(mmmagnet.__file__).parent
    assert resolve_model_path('package://mmmagnet/models/layers') == str(folder / 'models' / 'layers')
    assert Path(resolve_model_path('package://mmmagnet')) == folder


def test_package_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / 'a_package' / 'model').mkdir(parents=True)
    (tmp_path / 'a_package' / '__init__.py').write_text('raise RuntimeError')
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_model_path('package://a_package/model') == str(tmp_path / 'a_package' / 'model')
    assert 'a_package' not in sys.modules


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('package://no_such_package/model', 'pip install no-such-package'),
        ('package://mmmagnet/no_such_folder', "has no folder 'no_such_folder'"),
        ('package://json.decoder/x', 'names no package'),
        ('package://', 'names no package'),
        ('package:///model', 'names no package'),
        ('package://.relative/model', 'names no package'),
    ],
)
def test_unknown(name, message):
    with pytest.raises(DataError, match=message):
        resolve_model_path(name)
