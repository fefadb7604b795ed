"""The benchmark as a command: its output on the screen and in a file."""

import json
import runpy
from pathlib import Path

import measurements as module
import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[4]
MEASURED = {
    'seconds',
    'gflops',
    'matmul_gflops_per_s',
    'ratio_to_limit',
    'peak_memory_mb',
    'parts',
    'images_per_second',
    'activation_mb',
}


@pytest.fixture
def config(tiny_config, tmp_path):
    path = tmp_path / 'tiny.py'
    tiny_config['data_preprocessor'] = dict(type='ReferringPreProcessor')
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
    Config(dict(model=tiny_config, image_size=(64, 64), optim_wrapper=optimizer)).dump(path)
    return path


@pytest.mark.parametrize(
    ('mode', 'keys'),
    [('predict', MEASURED), ('train', MEASURED), ('memory', {'state_mb', 'activation_mb', 'parameters', 'gflops'})],
)
def test_modes(mode, keys, config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, '_SIDE', 64)
    arguments = [str(config), '--mode', mode, '--repeat', '1', '--json', str(tmp_path / 'found.json')]
    main = runpy.run_path(str(ROOT / 'tools' / 'analysis_tools' / 'benchmark' / 'benchmark.py'))['main']
    assert main([*arguments, '--tokens', '6', '--device', 'cpu', '--threads', '1']) == 0
    found = json.loads((tmp_path / 'found.json').read_text())
    assert keys <= found.keys()
    assert (found['mode'], found['size'], found['tokens']) == (mode, [64, 64], 6)
    printed = capsys.readouterr().out
    assert ('activations' in printed) == (mode != 'predict')
    assert main([*arguments, '--tokens', '99']) == 2
    assert 'room for 32' in capsys.readouterr().err
