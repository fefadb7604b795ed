"""The quickstart's stages with stand-ins for the tools: what is started, what a second run reuses, how it fails."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = (
    '11/30 06:33:46 - mmengine - INFO - {}  base_lr: 2.3e-05 lr: 2.3e-05  eta: {}  time: 0.87  grad_norm: 3  loss: {}'
)


@pytest.fixture(scope='module')
def quickstart():
    spec = importlib.util.spec_from_file_location('quickstart', ROOT / 'tools' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['quickstart'] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stages(quickstart, monkeypatch, tmp_path):
    """Commands of the stages that ran; the training leaves a checkpoint, as the real one does."""
    commands = {}

    def run_stage(name, command, log):
        commands['swapped' if '--swap-expressions' in command else name] = ' '.join(map(str, command))
        if name == 'training':
            (tmp_path / 'work' / 'best_ref_oIoU_epoch_2.pth').touch()

    monkeypatch.setattr(quickstart, 'run_stage', run_stage)
    monkeypatch.setattr(quickstart, 'next_command', lambda data, checkpoint: 'infer')
    monkeypatch.setattr(quickstart.subprocess, 'run', lambda *_, **__: None)  # the table
    monkeypatch.setattr(quickstart.os, 'cpu_count', lambda: 4)
    monkeypatch.chdir(tmp_path)
    return commands


@pytest.mark.parametrize(
    ('line', 'progress'),
    [
        (
            TRAIN.format('Epoch(train) [2][ 60/728]', '0:12:34', '1.2345'),
            ('epoch 2, step 60 of 728, 13 min left, loss 1.23', False),
        ),
        (
            TRAIN.format('Iter(train) [ 60/2000]', '1 day, 2:00:00', '2'),
            ('step 60 of 2000, 1560 min left, loss 2.00', False),
        ),
        (TRAIN.format('Epoch(train) [1][3/3]', '0:00:09', 'nan'), ('epoch 1, step 3 of 3, 9 s left, loss nan', False)),
        (
            '- INFO - Epoch(test) [10/110]    eta: 0:01:29  time: 0.1  data_time: 0.0',
            ('scoring, batch 10 of 110, 89 s left', False),
        ),
        ('- INFO - Epoch(val) [1][10/110]    eta: 0:01:30  time: 0.1', ('scoring, batch 10 of 110, 2 min left', False)),
        (
            '- INFO - Epoch(val) [1][9/9]    ref/oIoU: 65.4500  ref/mIoU: 70.0  ',
            ('validation: oIoU 65.45, mIoU 70.00', True),
        ),
        ('35/38 images, 265 per second', ('35/38 images, 265 per second', False)),
        ('wrote 38 images to data', ('wrote 38 images to data', True)),
        ('val (input resolution): oIoU 1.00', ('val (input resolution): oIoU 1.00', True)),
        ('resumed epoch: 1, iter: 728', ('resumed epoch: 1, iter: 728', True)),
        ('model = dict(', None),
    ],
)
def test_progress(quickstart, line, progress):
    assert quickstart.progress_of(line) == progress


LONG, QUICK = 'configs/magnet_tiny_synthetic.py', 'configs/magnet_tiny_quickstart.py'
SHARED = '--cfg-options train_dataloader.batch_size={batch} train_dataloader.num_workers=1'


@pytest.mark.parametrize(
    ('arguments', 'training', 'options', 'scoring'),
    [
        (
            ['--long', '--device', 'cpu'],
            f'bash tools/dist_train.sh {LONG} 2 --work-dir {{work}} --data-root {{root}}/data/synthetic_easy',
            SHARED.format(batch=16),
            f'bash tools/dist_test.sh {LONG} {{best}} 2',
        ),
        (
            ['--device', 'cpu'],
            f'bash tools/dist_train.sh {QUICK} 2 --work-dir {{work}} --data-root {{root}}/data/synthetic_quickstart',
            SHARED.format(batch=8),
            f'bash tools/dist_test.sh {QUICK} {{best}} 2',
        ),
        (
            ['--smoke', '--device', 'cuda'],
            f'{{python}} tools/train.py {LONG} --work-dir {{work}} --data-root {{work}}/data',
            '--cfg-options train_cfg.max_epochs=1',
            f'{{python}} tools/test.py {LONG} {{best}}',
        ),
    ],
)
def test_stages(quickstart, stages, tmp_path, capsys, arguments, training, options, scoring):
    assert quickstart.main([*arguments, '--work-dir', 'work']) == 0
    best = tmp_path / 'work' / 'best_ref_oIoU_epoch_2.pth'
    names = {'work': tmp_path / 'work', 'root': ROOT, 'python': sys.executable, 'best': best}
    assert list(stages) == ['data', 'training', 'scores', 'swapped']
    assert stages['training'] == f'{training.format(**names)} --resume {" ".join(arguments[-2:])} {options}'
    assert all(stages[name].startswith(f'{scoring.format(**names)} --data-root ') for name in ('scores', 'swapped'))
    assert '--split val testA testB' in stages['scores']
    *_, checkpoint, log, images, following = capsys.readouterr().out.splitlines()
    assert checkpoint.split() == ['checkpoint', 'work/best_ref_oIoU_epoch_2.pth']
    assert (log.split()[0], images.split()[0]) == ('log', 'images')
    assert following == 'try next    infer'


def test_plans_name_files_that_exist(quickstart):
    for plan in quickstart.PLANS.values():
        assert (ROOT / plan.config).is_file()
        assert plan.duration
    assert len({plan.work_dir for plan in quickstart.PLANS.values()}) == len(quickstart.PLANS)


def test_second_run_reuses_and_other_settings_begin_anew(quickstart, stages, tmp_path, capsys, monkeypatch):
    arguments = ['--device', 'cpu', '--work-dir', 'work']
    for trained in (True, False):
        stages.clear()
        assert quickstart.main(arguments) == 0
        assert ('training' in stages) == trained
        assert ('finished earlier: work/best_ref_oIoU_epoch_2.pth' in capsys.readouterr().out) != trained
    assert quickstart.main(['--smoke', *arguments]) == 0
    assert re.search(r'held a training with other settings, now in work\.\d{8}-\d{6}', capsys.readouterr().out)
    assert 'training' in stages
    assert len(list(tmp_path.glob('work*/best_ref_oIoU_epoch_2.pth'))) == 2


def test_failed_training_is_tried_again(quickstart, stages, monkeypatch, capsys):
    works = quickstart.run_stage

    def fail(name, command, log):
        if name == 'training':
            raise quickstart.StageError('training failed with exit status 1')

    arguments = ['--device', 'cpu', '--work-dir', 'work']
    monkeypatch.setattr(quickstart, 'run_stage', fail)
    assert quickstart.main(arguments) == 1
    assert capsys.readouterr().err == 'error: training failed with exit status 1\n'
    monkeypatch.setattr(quickstart, 'run_stage', works)
    assert quickstart.main(arguments) == 0
    assert '--resume' in stages['training']


def test_training_without_a_checkpoint_is_an_error(quickstart, stages, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, 'run_stage', lambda *_: None)
    assert quickstart.main(['--device', 'cpu', '--work-dir', 'work']) == 1
    assert 'error: training left no checkpoint (all output: work/train.log)' in capsys.readouterr().err


def test_unwritable_work_dir_is_one_line(quickstart, capsys, tmp_path):
    (tmp_path / 'file').touch()
    assert quickstart.main(['--device', 'cpu', '--work-dir', str(tmp_path / 'file' / 'work')]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'file/work' in line


def test_failing_stage_shows_its_last_lines(quickstart, tmp_path, capfd):
    with pytest.raises(quickstart.StageError, match='data failed with exit status 3'):
        quickstart.run_stage('data', ['sh', '-c', 'seq 100; echo wrote 1; exit 3'], tmp_path / 'data.log')
    out, err = capfd.readouterr()
    assert out == '    wrote 1\n'
    assert err.split() == [*map(str, range(92, 101)), 'wrote', '1']
    assert len((tmp_path / 'data.log').read_text().splitlines()) == 101


def test_failing_stage_shows_its_error_before_the_report_of_torchrun(quickstart, tmp_path, capfd):
    script = 'echo "error: the cause"; echo "E1130 torch/distributed/elastic/api.py:1] failed"; seq 40; exit 1'
    with pytest.raises(quickstart.StageError):
        quickstart.run_stage('scores', ['sh', '-c', script], tmp_path / 'scores.log')
    assert capfd.readouterr().err == 'error: the cause\n'


def test_a_log_has_a_line_now_and_then(quickstart, capsys):
    display = quickstart.Display(every=3600)
    for text, stays in (('one', False), ('two', False), ('three', True)):
        display.show(text, stays)
    assert capsys.readouterr().out.split() == ['one', 'three']


def test_sigterm_ends_the_stage(tmp_path):
    code = (
        'import signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import quickstart\n'
        'wait = f"echo $$ >{sys.argv[2]}; echo started; exec sleep 60"\n'
        'quickstart.quickstart = lambda args: quickstart.run_stage("data", ["sh", "-c", wait], Path("log"))\n'
        'sys.exit(quickstart.main([]))'
    )
    started = tmp_path / 'started'
    process = subprocess.Popen([sys.executable, '-c', code, str(ROOT / 'tools'), str(started)], cwd=tmp_path)
    deadline = time.monotonic() + 30
    log = tmp_path / 'log'
    while not (log.is_file() and log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_next_command_is_of_a_validation_image(quickstart, tmp_path):
    (tmp_path / 'refs.jsonl').write_text(
        '{"split": "train", "image_id": 1, "sentences": [{"raw": "no"}]}\n'
        '{"split": "val", "image_id": 2, "sentences": [{"raw": "the red one"}]}\n'
    )
    images = [{'id': 1, 'file_name': 'a.png'}, {'id': 2, 'file_name': 'b.png'}]
    (tmp_path / 'instances.json').write_text(json.dumps({'images': images}))
    command = quickstart.next_command(tmp_path, tmp_path / 'best.pth')
    assert f"infer.py {tmp_path}/images/b.png --text 'the red one' --checkpoint {tmp_path}/best.pth" in command
