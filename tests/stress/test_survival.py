"""A training of two processes that is ended three times while it saves has the same end as an undisturbed one.

`killing.py` does it 20 times, at all moments, with any number of processes.
"""

from pathlib import Path

import pytest
from killing import CONFIG, assert_same_end, command_of, make_data, start, train_through


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='finds processes by /proc')
def test_killed_while_saving(tmp_path):
    data = make_data(tmp_path / 'data')
    config = tmp_path / 'killed.py'
    config.write_text(CONFIG)
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert start(command_of(config, data, whole, 2), tmp_path / 'whole.log').wait(300) == 0
    kills = [('writing', way) for way in ('all', 'one', 'term')]
    train_through(kills, command_of(config, data, killed, 2), tmp_path, killed)
    assert 'stopped by SIGTERM' in (tmp_path / 'life_2.log').read_text()
    assert_same_end(whole, killed)
    assert not list(killed.glob('*.part'))
