"""What the tests of tools/download.py share."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def downloader():
    """tools/download.py as a module."""
    path = Path(__file__).parents[2] / 'tools' / 'download.py'
    spec = importlib.util.spec_from_file_location('download', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules['download'] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def download(downloader, monkeypatch, tmp_path, capsys):
    """Download a source, to `it` in the test's folder by default; gives status, stdout and stderr."""

    def run(addresses, files=None, place='{root}/it'):
        source = downloader.Source('', place, addresses, files or {}, 'convert {root}')
        monkeypatch.setitem(downloader.SOURCES, 'refcoco', source)
        status = downloader.main(['refcoco', '--root', str(tmp_path)])
        return status, *capsys.readouterr()

    return run
