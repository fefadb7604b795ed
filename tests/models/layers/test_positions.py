"""Sine positions, against their formula number by number."""

import math

import pytest
import torch

from mmmagnet.models.layers import sine_positions_1d, sine_positions_2d

CPU = torch.device('cpu')


def wave(position, channel, channels):
    angle = position / 10000 ** (2 * (channel // 2) / channels)
    return math.cos(angle) if channel % 2 else math.sin(angle)


@pytest.mark.parametrize(('height', 'width', 'channels'), [(1, 1, 4), (2, 3, 8), (5, 2, 32)])
def test_map(height, width, channels):
    half = channels // 2
    expected = [
        [wave(2 * math.pi * (y + 1) / (height + 1e-6), channel, half) for channel in range(half)]
        + [wave(2 * math.pi * (x + 1) / (width + 1e-6), channel, half) for channel in range(half)]
        for y in range(height)
        for x in range(width)
    ]
    torch.testing.assert_close(
        sine_positions_2d(height, width, channels, CPU), torch.tensor(expected), rtol=0, atol=2e-6
    )


def test_sequence():
    expected = [[wave(position, channel, 6) for channel in range(6)] for position in range(7)]
    torch.testing.assert_close(sine_positions_1d(7, 6, CPU), torch.tensor(expected), rtol=0, atol=2e-6)


def test_channels_of_a_map():
    with pytest.raises(ValueError, match='multiple of 4 channels, got 6'):
        sine_positions_2d(2, 2, 6, CPU)
