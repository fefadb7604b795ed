"""Checkpoints that survive an end at any moment, and validations that a resume makes up for."""

import errno
import os
from pathlib import Path

import pytest

from mmmagnet.engine.hooks import AtomicCheckpointHook
from mmmagnet.engine.hooks.atomic_checkpoint_hook import AtomicFileBackend
from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.latest_checkpoint import latest_checkpoint


class KilledError(BaseException):
    """The process is gone."""


def hooks(**settings):
    settings = {'interval': 1, 'save_best': 'score', 'rule': 'greater', **settings}
    return dict(checkpoint=dict(type='AtomicCheckpointHook', **settings), logger=None)


def names(folder, pattern='*'):
    return {path.name for path in folder.glob(pattern)}


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / 'made' / 'file'
    AtomicFileBackend().put(b'old', path)
    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match='not saved, former checkpoints are kept: No space left on device') as caught:
        AtomicFileBackend().put(b'new', path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b'old'
    assert names(path.parent) == {'file'}


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KilledError()], ids=str)
@pytest.mark.parametrize(
    ('write', 'epoch', 'best'),  # each epoch writes its checkpoint, the best, and its checkpoint again
    [(2, 1, []), (3, 1, [1]), (4, 1, [1]), (5, 2, [1]), (6, 2, [1, 2]), (7, 2, [2]), (8, 3, [2]), (9, 3, [2, 3])],
)
def test_an_end_in_any_write(make_runner, monkeypatch, tmp_path, write, epoch, best, error):
    folder, written, rename = tmp_path / 'run', [], Path.replace

    def replace(self, target):
        written.append(target)
        if len(written) == write:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, 'replace', replace)
    with pytest.raises(type(error)):
        make_runner(hooks(), scores=[1, 2, 3]).train()
    monkeypatch.undo()
    path, content = latest_checkpoint(folder)
    assert (path.name, content['meta']['epoch']) == (f'epoch_{epoch}.pth', epoch)
    assert names(folder, 'best_*') == {f'best_score_epoch_{number}.pth' for number in best}
    (folder / 'epoch_9.pth.1.part').touch()  # of a kill
    left = [1, 2, 3][epoch - (write % 3 != 1) :]
    make_runner(hooks(), resume=path, scores=left).train()
    assert names(folder, '*.p[at]*') == {'best_score_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth'}


@pytest.mark.parametrize('scores', [[3, 1, 2], [1, 3, 2], [1, 2, 3]], ids=str)
@pytest.mark.parametrize('stop', [1, 2, 3])
def test_a_validation_that_was_cut_off(make_runner, tmp_path, scores, stop):
    folder = tmp_path / 'run'
    with pytest.raises(KilledError):
        make_runner(hooks(), scores=[*scores[: stop - 1], KilledError()]).train()
    path, _ = latest_checkpoint(folder)
    make_runner(hooks(), resume=path, scores=scores[stop - 1 :]).train()
    assert names(folder, '*.pth') == {f'best_score_epoch_{1 + scores.index(3)}.pth', 'epoch_2.pth', 'epoch_3.pth'}
    content = load_file(folder / 'epoch_3.pth')
    assert content['message_hub']['runtime_info']['best_score'] == 3
    assert (content['meta']['epoch'], content['meta']['iter']) == (3, 12)


def test_old_checkpoints_are_removed(make_runner, tmp_path):
    make_runner(hooks(by_epoch=False, interval=2, save_best=None)).train()
    assert names(tmp_path / 'run', '*.pth') == {'iter_10.pth', 'iter_12.pth'}


@pytest.mark.parametrize('number', [0, 1])
def test_one_checkpoint_is_too_few(number):
    with pytest.raises(ValueError, match=f'max_keep_ckpts={number}; give 2 or more'):
        AtomicCheckpointHook(max_keep_ckpts=number)


def test_validation_lines_hold_scores_alone(make_runner):
    """MMEngine logs every entry of the message hub whose name begins with `val`."""
    runner = make_runner(hooks(), scores=[1, 2, 3])
    runner.train()
    _, line = runner.log_processor.get_log_after_epoch(runner, 0, 'val')
    assert 'score: 3' in line
    assert 'epoch:' not in line


def test_a_validation_alone_saves_nothing(make_runner, tmp_path):
    assert make_runner(hooks(), scores=[1]).val() == {'score': 1}
    assert not names(tmp_path / 'run', '*.pth')
