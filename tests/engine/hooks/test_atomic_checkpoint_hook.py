"""Whatever ends the writing of a checkpoint, the one before it is there; and nothing that was scored is forgotten."""

import errno
import os
from pathlib import Path

import pytest

from mmmagnet.engine.hooks.atomic_checkpoint_hook import WholeFileBackend
from mmmagnet.utils.checkpoint import load_file
from mmmagnet.utils.latest_checkpoint import latest_checkpoint


class KilledError(BaseException):
    """The process is gone."""


def hooks(**settings):
    return dict(checkpoint=dict(type='AtomicCheckpointHook', **settings), logger=None)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / 'made' / 'file'
    WholeFileBackend().put(b'old', path)
    monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match='not saved, former checkpoints are kept: No space left on device') as caught:
        WholeFileBackend().put(b'new', path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b'old'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KilledError()], ids=str)
@pytest.mark.parametrize('writing', range(2, 7))
def test_the_former_is_kept(make_runner, monkeypatch, writing, error):
    """Of two epochs and their best the writings are: last, best, last, last, best, last."""
    written, rename = [], Path.replace

    def replace(self, target):
        written.append(target)
        if len(written) == writing:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, 'replace', replace)
    settings = dict(interval=1, max_keep_ckpts=1, save_best='score', rule='greater')
    with pytest.raises(type(error)):
        make_runner(hooks(**settings), scores=[1, 2], max_epochs=2).train()
    monkeypatch.undo()
    folder = written[0].parent
    path, content = latest_checkpoint(folder)
    done = 1 if writing <= 4 else 2
    assert path.name == f'epoch_{done}.pth' and content['meta']['epoch'] == done
    best = {path.name for path in folder.glob('best_*.pth')}
    assert best == {f'best_score_epoch_{epoch}.pth' for epoch in {2: [], 6: [1, 2]}.get(writing, [1])}
    left = [1, 2] if writing < 4 else [2]
    make_runner(hooks(**settings), resume=path, scores=left, max_epochs=2).train()
    assert {path.name for path in folder.glob('*.pth')} == {'best_score_epoch_2.pth', 'epoch_2.pth'}


@pytest.mark.parametrize('scores', [[3, 1, 2], [1, 3, 2], [1, 2, 3]], ids=str)
@pytest.mark.parametrize('stop', [1, 2, 3])
@pytest.mark.parametrize('flexible', [False, True])
def test_a_validation_that_was_cut_off_is_made_up_for(make_runner, tmp_path, scores, stop, flexible):
    settings = dict(interval=1, max_keep_ckpts=1, save_best='score', rule='greater')
    with pytest.raises(KilledError):
        make_runner(hooks(**settings), scores=[*scores[: stop - 1], KilledError()], flexible=flexible).train()
    path, _ = latest_checkpoint(tmp_path / 'run')
    make_runner(hooks(**settings), resume=path, scores=scores[stop - 1 :], flexible=flexible).train()
    best = f'best_score_epoch_{1 + scores.index(3)}.pth'
    assert {path.name for path in (tmp_path / 'run').glob('*.pth')} == {best, 'epoch_3.pth'}
    content = load_file(tmp_path / 'run' / 'epoch_3.pth')
    assert content['message_hub']['runtime_info']['best_score'] == 3
    assert (content['meta']['epoch'], content['meta']['iter']) == (3, 12)


def test_what_is_out_of_date_goes(make_runner, tmp_path):
    make_runner(hooks(by_epoch=False, interval=2, max_keep_ckpts=2)).train()
    assert {path.name for path in (tmp_path / 'run').glob('*.pth')} == {'iter_10.pth', 'iter_12.pth'}
