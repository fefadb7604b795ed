"""A disk for `killing.py` that stands still in the PAUSE_AT_WRITE-th checkpoint, so that a kill hits its write."""

import os
import time

_fsync, _left = os.fsync, [int(os.environ.get('PAUSE_AT_WRITE', '0'))]


def _pausing_fsync(stream: int) -> None:
    _left[0] -= 1
    if not _left[0]:
        print('the disk stands still', flush=True)
        time.sleep(120)
    _fsync(stream)


os.fsync = _pausing_fsync
