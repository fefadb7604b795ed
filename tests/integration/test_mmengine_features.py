"""What users of MMEngine and MMSegmentation set next to our settings, on four images; docs/train.md has the table."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.apis import inference_model, init_model
from test_train_test_infer import CONFIG, OPTIONS, main_of, write_set

from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.config import load_config, parse_options
from mmmagnet.utils.errors import ConfigError

CARIS = str(Path(CONFIG).parent / 'ablation' / 'caris.py')
PART = "dict(type='RefCOCODataset', split='train')"
EPOCH = [*OPTIONS, 'train_cfg.max_epochs=1']
HOOKS = (
    "custom_hooks=[dict(type='EMAHook'), dict(type='EarlyStoppingHook', monitor='ref/oIoU', rule='greater'),"
    "dict(type='ProfilerHook', by_epoch=False, profile_times=2, activity_with_cuda=False),"
    "dict(type='SyncBuffersHook'), dict(type='EmptyCacheHook'), dict(type='NaiveVisualizationHook')]"
)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp('features') / 'data')


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.delenv('RANK', raising=False)


def train(data, work_dir, options, *flags):
    """Exit status of a training."""
    arguments = [CONFIG, '--data-root', str(data), '--work-dir', str(work_dir), *flags, '--cfg-options', *options]
    return main_of('train.py')(arguments)


@pytest.mark.parametrize(
    ('config', 'decoder'),
    [(CONFIG, ()), (CARIS, ('decoder_layers', 'pixel_decoder_layers'))],
    ids=['stage by stage', 'image first'],
)
def test_several_expressions_of_an_image(data, tmp_path, config, decoder):
    """Six expressions of two images in a step train, and the network then scores."""
    options = [option for option in EPOCH if not any(f'decode_head.{name}=' in option for name in decoder)]
    options += ['train_dataloader.dataset.pipeline.3.expressions_per_image=3', 'train_cfg.val_begin=1']
    arguments = [config, '--data-root', str(data), '--work-dir', str(tmp_path), '--cfg-options', *options]
    assert main_of('train.py')(arguments) == 0
    (log,) = tmp_path.rglob('scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line['step'] for line in lines if 'ref/oIoU' in line] == [1]
    assert all(line['loss'] > 0 for line in lines if 'loss' in line)


@pytest.mark.parametrize(
    ('options', 'written'),
    [
        ([HOOKS, 'optim_wrapper.accumulative_counts=2'], 'best_ref_oIoU_epoch_1.pth'),
        (
            [
                'default_hooks.checkpoint=dict(_delete_=True, type="CheckpointHook", by_epoch=False, interval=2,'
                'filename_tmpl="step_{}.pth", save_best=["ref/oIoU", "ref/mIoU"], rule=["greater", "greater"])',
                "default_hooks.visualization=dict(type='SegVisualizationHook', draw=True, interval=1)",
                "param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='ref/oIoU', rule='greater')]",
                "visualizer.vis_backends=[dict(type='LocalVisBackend')]",
            ],
            'step_4.pth',
        ),
        (
            [
                'train_cfg.dynamic_intervals=[(1,2)]',
                "val_evaluator=[dict(type='ReferringSegMetric'), dict(type='IoUMetric', iou_metrics=['mIoU'])]",
                "optim_wrapper.optimizer=dict(_delete_=True, type='SGD', lr=1e-3, weight_decay=0.0)",
                'auto_scale_lr=dict(enable=True, base_batch_size=32)',
                'log_processor.by_epoch=False',
                'find_unused_parameters=True',
            ],
            'epoch_1.pth',
        ),
    ],
    ids=['hooks', 'checkpoints', 'others'],
)
def test_it_works(data, tmp_path, options, written):
    assert train(data, tmp_path, [*EPOCH, *options]) == 0
    assert (tmp_path / written).is_file()


@pytest.mark.parametrize(
    ('options', 'flags', 'message'),
    [
        ([], ['--launcher', 'pytorch'], '--launcher pytorch: RANK is not set'),
        ([], ['--amp'], 'optim_wrapper.type=AmpOptimWrapper: its mixed precision needs a GPU'),
        (['default_hooks.checkpoint.save_best=mIoU'], [], "default_hooks.checkpoint.save_best='mIoU': no score has"),
        (["visualizer.vis_backends=[dict(type='WandbVisBackend')]"], [], 'pip install wandb'),
        (
            ["optim_wrapper.optimizer=dict(_delete_=True, type='SGD', lr=1e-3)"],
            [],
            'optim_wrapper.optimizer has no weight_decay',
        ),
        (['train_dataloader.sampler.type=DefaultSampler'], [], 'a DefaultSampler gives no epochs'),
        (["model=dict(_delete_=True, type='SegTTAModel')"], [], "model.type='SegTTAModel': expressions are scored"),
        *(
            ([f"train_dataloader.dataset=dict(_delete_=True, type='{kind}', {settings})"], [], message)
            for kind, settings, message in (
                ('RepeatDataset', f'times=2, dataset={PART}', 'a RepeatDataset takes no epoch'),
                ('ConcatDataset', f'datasets=[{PART}]', 'a ConcatDataset takes no epoch'),
                ('ClassBalancedDataset', f'oversample_thr=0.1, dataset={PART}', 'there is nothing to balance'),
            )
        ),
    ],
)
def test_it_is_refused_in_one_line(data, tmp_path, capsys, options, flags, message, monkeypatch):
    monkeypatch.setattr('mmengine.device.utils.DEVICE', 'cpu')
    monkeypatch.setitem(sys.modules, 'wandb', None)
    assert train(data, tmp_path, [*EPOCH, *options], *flags) == 2
    error = capsys.readouterr().err
    assert message in error.strip().splitlines()[-1]
    assert 'Traceback' not in error


def test_an_iteration_based_training_is_resumed(data, tmp_path):
    loop = "train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=6, val_interval=3)"
    options = [*OPTIONS, loop, "param_scheduler=[dict(type='PolyLR', by_epoch=False)]", 'randomness.seed=1']
    options += ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=2']
    assert train(data, tmp_path / 'whole', options) == 0
    assert train(data, tmp_path / 'cut', [*options, 'default_hooks.checkpoint.max_keep_ckpts=-1']) == 0
    for step in (4, 6):
        (tmp_path / 'cut' / f'iter_{step}.pth').unlink()
    assert train(data, tmp_path / 'cut', options, '--resume') == 0
    whole, resumed = (load_file(tmp_path / name / 'iter_6.pth')['state_dict'] for name in ('whole', 'cut'))
    assert all(value.equal(whole[name]) for name, value in resumed.items())


def test_two_trainings_of_a_notebook(data, tmp_path):
    """Each logs into its own folder."""
    for name in ('first', 'second'):
        Runner.from_cfg(load_config(CONFIG, parse_options(EPOCH), data, tmp_path / name)).train()
    for name in ('first', 'second'):
        (scalars,) = (tmp_path / name).rglob('scalars.json')
        logged = [json.loads(line) for line in scalars.read_text().splitlines()]
        assert [line['step'] for line in logged if 'loss' in line] == [1, 2, 3, 4]


def run_mmseg(monkeypatch, tool, *arguments):
    """Run a tool of mmseg in this process."""
    path = Path(mmseg.__file__).parent / '.mim' / 'tools' / tool
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
    monkeypatch.setitem(os.environ, 'LOCAL_RANK', '0')
    runpy.run_path(str(path), run_name='__main__')


def test_tools_of_mmseg(data, tmp_path, monkeypatch):
    roots = [f'{name}_dataloader.dataset.data_root={data}' for name in ('train', 'val', 'test')]
    options = ['--work-dir', tmp_path / 'run', '--cfg-options', *EPOCH, *roots]
    run_mmseg(monkeypatch, 'train.py', CONFIG, *options)
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    run_mmseg(monkeypatch, 'test.py', CONFIG, checkpoint, *options)
    assert list((tmp_path / 'run').rglob('*.json'))


def test_interfaces_of_mmseg(data):
    config = Config.fromfile(CONFIG)
    model = init_model(config, device='cpu')
    with pytest.raises(ConfigError, match=r'an expression with mmmagnet\.apis\.ReferringInferencer'):
        inference_model(model, str(next((data / 'images').iterdir())))
