"""Configs that cannot run, told in one line before anything is built."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmmagnet.engine.checks import (
    check_amp,
    check_compile,
    check_monitored,
    check_schedule,
    check_scoring,
    check_tokenizers,
    check_types,
)
from mmmagnet.utils.errors import ConfigError


@pytest.mark.parametrize(
    ('settings', 'wrong'),
    [
        (dict(model=dict(type='ReferringSegmentor', backbone=dict(type='mmseg.ResNet'), norm=[dict(type='LN')])), None),
        (dict(train_dataloader=dict(collate_fn=dict(type='pseudo_collate'))), None),
        (dict(optim_wrapper=dict(optimizer=dict(type='torch.optim.AdamW'))), None),
        (dict(model=dict(text_encoder=dict(config=dict(rope_scaling=dict(type='linear'))))), None),
        (dict(optim_wrapper=dict(clip_grad=dict(type='value', clip_value=1.0))), None),
        (dict(my_variable=dict(type='Nothing')), None),  # which nobody reads
        (dict(model=dict(neck=dict(type='Nothing'))), "model.neck.type='Nothing'"),
        (dict(custom_hooks=[dict(type='no_package.Hook')]), "custom_hooks.0.type='no_package.Hook'"),
    ],
)
def test_types(settings, wrong):
    if wrong is None:
        check_types(Config(settings))
        return
    with pytest.raises(ConfigError, match=f'^{wrong} is not registered: .* custom_imports'):
        check_types(Config(settings))


def test_amp_needs_a_gpu(monkeypatch):
    config = Config(dict(optim_wrapper=dict(type='AmpOptimWrapper')))
    for device in ('cuda', 'cpu'):
        monkeypatch.setattr('mmmagnet.engine.checks.get_device', lambda device=device: device)
        if device == 'cuda':
            check_amp(config)
    with pytest.raises(ConfigError, match=r'AmpOptimWrapper: .* needs a GPU'):
        check_amp(config)


def test_the_network_is_compiled_and_not_the_step():
    for settings in ({}, dict(compile=False), dict(model=dict(compile={}))):
        check_compile(Config(settings))
    for value in (True, {}, dict(backend='inductor')):
        with pytest.raises(ConfigError, match=r'compile: .* set model\.compile instead'):
            check_compile(Config(dict(compile=value)))


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(model=dict(type='ReferringSegmentor'), test_dataloader=dict(dataset=dict(type='RefCOCODataset'))), None),
        (dict(model=dict(type='mmseg.SegTTAModel')), "model.type='mmseg.SegTTAModel'"),
        (
            dict(custom_hooks=[dict(type='PrepareTTAHook', tta_cfg=dict(type='SegTTAModel'))]),
            "custom_hooks.0.tta_cfg.type='SegTTAModel'",
        ),
        (
            dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='TestTimeAug')]))),
            "test_dataloader.dataset.pipeline.0.type='TestTimeAug'",
        ),
        (dict(val_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[]))), "dataset.type='ConcatDataset'"),
        (dict(test_dataloader=dict(dataset=dict(type='RepeatDataset', dataset={}))), "dataset.type='RepeatDataset'"),
    ],
)
def test_one_set_without_test_time_augmentation(settings, named):
    if named is None:
        check_scoring(Config(settings))
        return
    with pytest.raises(ConfigError, match=f'{named}: (expressions|sets) are scored'):
        check_scoring(Config(settings))


@pytest.mark.parametrize(
    ('settings', 'named'),
    [
        (dict(default_hooks=dict(checkpoint=dict(save_best='ref/oIoU'))), None),
        (dict(default_hooks=dict(checkpoint=dict(save_best=['ref/mIoU', 'auto']))), None),
        (dict(default_hooks=dict(checkpoint=dict(interval=1))), None),
        (dict(default_hooks=dict(checkpoint=dict(save_best='mIoU')), val_evaluator=dict(type='IoUMetric')), None),
        (
            dict(
                default_hooks=dict(checkpoint=dict(save_best='oIoU')),
                val_evaluator=dict(type='ReferringSegMetric', prefix=None),
            ),
            None,
        ),
        (dict(custom_hooks=[dict(type='EMAHook')], param_scheduler=[dict(type='PolyLR')]), None),
        (dict(default_hooks=dict(checkpoint=dict(save_best='mIoU'))), "default_hooks.checkpoint.save_best='mIoU'"),
        (dict(default_hooks=dict(checkpoint=dict(save_best=['ref/mIoU', 'x']))), "checkpoint.save_best='x'"),
        (dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor='oIoU')]), "custom_hooks.0.monitor='oIoU'"),
        (dict(param_scheduler=[dict(type='ReduceOnPlateauLR', monitor='loss')]), "param_scheduler.0.monitor='loss'"),
        (
            dict(
                default_hooks=dict(checkpoint=dict(save_best='ref/oIoU')),
                val_evaluator=[dict(type='ReferringSegMetric', prefix='mine')],
            ),
            "save_best='ref/oIoU'",
        ),
    ],
)
def test_scores_that_are_looked_at(settings, named):
    config = Config(dict(val_evaluator=dict(type='ReferringSegMetric')) | settings)
    if named is None:
        check_monitored(config)
        return
    with pytest.raises(ConfigError, match=f'{named}: no score has this name; .* as ref/mIoU'):
        check_monitored(config)


def poly(end=None, **settings):
    return dict(type='PolyLR', **({} if end is None else dict(end=end)), **settings)


WARMUP = dict(type='LinearLR', by_epoch=False, begin=0, end=5)
BY_STEPS = dict(convert_to_iter_based=True)


@pytest.mark.parametrize(
    ('loop', 'schedule', 'warning'),
    [
        ('epochs', [WARMUP, poly(3, **BY_STEPS)], 'rate is 0 from step 30 of 50 on: set param_scheduler.1.end=5'),
        ('epochs', [poly(3)], 'rate is 0 from step 30 of 50 on: set param_scheduler.0.end=5'),
        ('epochs', [poly(49, by_epoch=False)], 'rate is 0 from step 49 of 50 on: set param_scheduler.0.end=50'),
        ('epochs', [dict(type='CosineAnnealingLR', end=4)], 'rate is 0 from step 40 of 50'),
        ('epochs', [dict(WARMUP, end=100), poly(3, **BY_STEPS)], 'rate is 0 from step 30 of 50'),
        ('epochs', [poly(3, eta_min=1e-6)], None),
        ('epochs', [WARMUP, poly(5, **BY_STEPS)], None),
        ('epochs', [WARMUP, poly()], None),
        ('epochs', [WARMUP], None),
        ('epochs', [dict(type='MultiStepLR', milestones=[2], end=3)], None),
        ('epochs', None, None),
        ('iterations', [poly(3, **BY_STEPS)], 'rate is 0 from step 30 of 45 on: set param_scheduler.0.end=5'),
        ('iterations', [poly(**BY_STEPS)], 'rate is 0 from step 10 of 45 on: set param_scheduler.0.end=5'),
        ('iterations', [poly(5)], 'param_scheduler.0 counts epochs, which an IterBasedTrainLoop has none of'),
        ('iterations', [poly(45, by_epoch=False)], None),
    ],
)
def test_rates_that_end_early(monkeypatch, loop, schedule, warning):
    config = Config(dict(param_scheduler=schedule, default_hooks=dict(checkpoint=dict(by_epoch=False))))
    check_with(monkeypatch, loop, config, warning)


@pytest.mark.parametrize(
    ('loop', 'checkpoint', 'warning'),
    [
        ('epochs', dict(interval=1), None),
        ('iterations', dict(interval=1), 'saves only at its end: set default_hooks.checkpoint.by_epoch=False'),
        ('iterations', dict(interval=1, by_epoch=False), None),
    ],
)
def test_checkpoints_that_come_late(monkeypatch, loop, checkpoint, warning):
    check_with(monkeypatch, loop, Config(dict(default_hooks=dict(checkpoint=checkpoint))), warning)


def check_with(monkeypatch, loop, config, warning):
    """Compare what is told about five epochs of ten steps, or 45 iterations."""
    kind, told = (EpochBasedTrainLoop, []) if loop == 'epochs' else (IterBasedTrainLoop, [])
    made = object.__new__(kind)
    made.dataloader = range(10)
    made._max_epochs, made._max_iters = (5, 50) if loop == 'epochs' else (1, 45)
    monkeypatch.setattr('mmmagnet.engine.checks.print_log', lambda text, *_: told.append(text))
    check_schedule(config, made)
    assert len(told) == (warning is not None)
    assert warning is None or warning in told[0]


SYNTHETIC = 'package://mmmagnet/datasets/synthetic/tokenizer'


@pytest.mark.parametrize(
    ('encoder', 'message'),
    [
        (dict(vocab_size=160, mask_token_id=4), None),
        (dict(vocab_size=200, mask_token_id=None), None),
        (dict(vocab_size=160, max_tokens=20), None),
        (dict(vocab_size=160, max_tokens=19), 'max_length=20, but the text encoder has places for 19 tokens'),
        (dict(vocab_size=100, mask_token_id=4), r'tokenizer=.* has 160 words and .*vocab_size=100 fewer'),
        (dict(vocab_size=160, mask_token_id=103), r'mask_token_id=103, but \[MASK\] of .* is 4: take the tokenizer'),
        (None, None),
    ],
)
def test_tokenizers_belong_to_the_text_encoder(encoder, message):
    dataset = dict(
        type='RefCOCODataset', pipeline=[dict(type='TokenizeExpression', tokenizer=SYNTHETIC, max_length=20)]
    )
    config = Config(dict(train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))))
    model = torch.nn.Module()
    model.text_encoder = encoder and SimpleNamespace(**encoder)
    if message is None:
        check_tokenizers(config, model)
    else:
        with pytest.raises(ConfigError, match=message):
            check_tokenizers(config, model)
