"""Every source of docs/data.md is converted, verified, trained ten steps and scored, by the commands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from sources import TOKENIZER, all_sources, main_of, write_files

from mmmagnet.utils.checkpoint import load_file

ROOT = Path(__file__).parents[2]
SOURCES = all_sources()
STEPS = 10
# the smallest network, on expressions that may mean nothing
CONFIG = f"""
_base_ = '{ROOT}/configs/magnet_tiny_synthetic.py'
model = dict(
    backbone=dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)),
    text_encoder=dict(config=dict(hidden_size=16, intermediate_size=16)),
    decode_head=dict(feat_channels=16, decoder_layers=1, no_target=True, target_threshold=0.5),
)
train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[1].update(allow_empty=True)
test_pipeline[2].update(allow_empty=True)
loader = dict(num_workers=0, persistent_workers=False, batch_size=2)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), sampler=dict(infinite=True), **loader)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline), **loader)
test_dataloader = dict(dataset=dict(split='val', pipeline=test_pipeline), **loader)
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={STEPS}, val_interval={STEPS})
param_scheduler = None
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={STEPS}), logger=dict(interval=1))
log_processor = dict(by_epoch=False)
"""


def tool(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize('name', SOURCES)
def test_source(name, tmp_path):
    source, out, work = SOURCES[name], tmp_path / 'out', tmp_path / 'work'
    if source.tool == 'parquet':
        pytest.importorskip('pyarrow')
    write_files(tmp_path / 'in', source.files)
    assert main_of(source.tool)(source.command(tmp_path / 'in', out)) == 0
    report = tmp_path / 'report.json'
    assert main_of('verify')([str(out), '--tokenizer', TOKENIZER, '--json', str(report)]) == 0
    counts = json.loads(report.read_text())['counts']
    assert counts['val']['sentences'] == source.pairs

    config = tmp_path / 'config.py'
    split = 'train' if 'train' in counts else 'val'  # RefCOCO-M is val alone
    config.write_text(CONFIG + f"train_dataloader['dataset']['split'] = '{split}'\n")
    shared = [str(config), '--data-root', str(out)]
    assert tool('train')([*shared, '--work-dir', str(work), '--device', 'cpu']) == 0
    trained = load_file(work / f'iter_{STEPS}.pth')
    assert trained['meta']['iter'] == STEPS
    scores = tmp_path / 'scores.json'
    command = [shared[0], str(work / f'iter_{STEPS}.pth'), *shared[1:], '--metrics-out', str(scores)]
    assert tool('test')([*command, '--work-dir', str(work / 'test'), '--device', 'cpu']) == 0
    metrics = json.loads(scores.read_text())['val']['metrics']
    assert metrics['ref/pairs'] == source.pairs and 0 <= metrics['ref/oIoU'] <= 100


def test_the_table_of_the_docs_has_every_source():
    page = (ROOT / 'docs' / 'data.md').read_text()
    rows = [row for row in page.splitlines() if row.startswith('| ') and row.endswith(' yes |')]
    assert {row.split(' | ')[0].removeprefix('| ') for row in rows} == {*SOURCES}
    for row in rows:
        name, command, *_ = row.split(' | ')
        assert SOURCES[name.removeprefix('| ')].tool in command
