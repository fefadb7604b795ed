"""Which checkpoint a training resumes from."""

import os

import pytest
import torch

from mmmagnet.utils.errors import CheckpointError
from mmmagnet.utils.latest_checkpoint import latest_checkpoint


def write(folder, **files):
    """Write checkpoints in order of age: `whole`, `part` of one, or `empty`."""
    for age, (name, kind) in enumerate(files.items()):
        path = folder / f'{name}.pth'
        torch.save({'meta': {'name': name}, 'state_dict': {'w': torch.zeros(100)}}, path)
        content = path.read_bytes()
        path.write_bytes({'whole': content, 'part': content[: len(content) // 2], 'empty': b''}[kind])
        os.utime(path, (1e9 + age, 1e9 + age))


@pytest.mark.parametrize(
    ('files', 'note', 'found'),
    [
        ({}, None, None),
        ({}, '/gone/epoch_1.pth', None),
        ({}, '', None),
        (dict(epoch_9='whole', epoch_10='whole'), None, 'epoch_10'),
        (dict(epoch_9='whole', epoch_10='part'), 'epoch_10.pth', 'epoch_9'),
        (dict(iter_30='whole', epoch_3='empty', iter_40='part'), '', 'iter_30'),
        (dict(epoch_1='whole', epoch_2='whole'), 'epoch_1.pth', 'epoch_2'),  # ended before the note was written
        (dict(epoch_1='whole'), '/moved/away/epoch_1.pth', 'epoch_1'),
        (dict(best_ref_oIoU_epoch_2='whole'), None, None),  # no optimizer in it
        (dict(snapshot_3='whole'), '/moved/away/snapshot_3.pth', 'snapshot_3'),  # the user's name for it
    ],
)
def test_latest(tmp_path, files, note, found):
    write(tmp_path, **files)
    (tmp_path / 'epoch_77.pth.part').write_bytes(b'PK')
    if note is not None:
        (tmp_path / 'last_checkpoint').write_text(note)
    latest = latest_checkpoint(tmp_path)
    assert (latest and (latest[0].stem, latest[1]['meta']['name'])) == (found and (found, found))


@pytest.mark.parametrize(('name', 'own', 'found'), [('run', False, True), ('run', True, False), ('copy', False, False)])
def test_noted_elsewhere(tmp_path, name, own, found):
    """A hook's `out_dir` makes a folder of the work dir's name; a copy still notes where it was copied from."""
    elsewhere, work_dir = tmp_path / 'elsewhere' / 'run', tmp_path / name
    for folder in (elsewhere, work_dir):
        folder.mkdir(parents=True)
    write(elsewhere, epoch_3='whole')
    if own:
        write(work_dir, epoch_1='whole')
    (work_dir / 'last_checkpoint').write_text(str(elsewhere / 'epoch_3.pth'))
    latest = latest_checkpoint(work_dir)
    expected = elsewhere / 'epoch_3.pth' if found else work_dir / 'epoch_1.pth' if own else None
    assert (latest and latest[0]) == expected


def test_none_is_whole(tmp_path):
    write(tmp_path, epoch_1='empty', epoch_2='part')
    with pytest.raises(CheckpointError, match=r'epoch_2\.pth: not a whole checkpoint file'):
        latest_checkpoint(tmp_path)


def test_no_folder(tmp_path):
    assert latest_checkpoint(tmp_path / 'none') is None
