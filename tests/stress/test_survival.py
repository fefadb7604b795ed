"""A training of two processes that is ended by force as it saves, three times, becomes what it would have become.

`killing.py` does it 20 times, at all moments, with any number of processes.
"""

from pathlib import Path

import pytest
from killing import CONFIG, command_of, differences, make_data, start, train_through

CAUSES = {'one': 'Signal 9 (SIGKILL) received by PID', 'term': 'error: stopped by SIGTERM'}


@pytest.mark.skipif(not Path('/proc/self/task').exists(), reason='finds processes by /proc')
def test_killed_while_saving(tmp_path):
    data = make_data(tmp_path / 'data')
    config = tmp_path / 'killed.py'
    config.write_text(CONFIG.format(epochs=3, workers=0))
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    assert start(command_of(config, data, whole, 2), tmp_path / 'whole.log').wait(300) == 0
    ways = ['all', 'one', 'term']
    kills = [('writing', way) for way in ways]
    events = train_through(kills, command_of(config, data, killed, 2), tmp_path, killed, seed=0)
    assert [event['way'] for event in events] == ways
    assert [event['status'] for event in events] == [-9, 1, 1]  # torchrun's
    assert any(name.endswith('.part') for name in events[0]['left'])  # cut off in the middle
    for life, way in enumerate(ways[1:], start=1):
        assert CAUSES[way] in (tmp_path / f'life_{life}.log').read_text()
    assert differences(whole, killed) == []
    assert not list(killed.glob('*.part'))
