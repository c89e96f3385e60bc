"""Sinusoids of time and of places in a grid."""

import math

import pytest
import torch

from divot.layers.embeddings import grid_positions, sinusoid, spread_points


def test_cosines_come_before_sines():
    assert torch.equal(sinusoid(torch.zeros(1), 6), torch.tensor([[1.0, 1, 1, 0, 0, 0]]))


def test_frequencies_fall_from_one_towards_the_longest_period():
    embedding = sinusoid(torch.tensor([3]), 4, max_period=100.0)
    wanted = [math.cos(3), math.cos(0.3), math.sin(3), math.sin(0.3)]
    torch.testing.assert_close(embedding, torch.tensor([wanted]))


def test_whole_and_half_precision_times_are_embedded_in_float32():
    for dtype in (torch.int64, torch.float16):
        embedding = sinusoid(torch.tensor([5, 7], dtype=dtype), 8)
        assert embedding.dtype == torch.float32
        torch.testing.assert_close(embedding, sinusoid(torch.tensor([5.0, 7.0]), 8))


def test_last_axis_of_the_grid_runs_fastest():
    positions = grid_positions((2, 3), 8).view(2, 3, 8)
    assert torch.equal(positions[0, 2, :4], positions[0, 0, :4])
    assert torch.equal(positions[1, 2, 4:], positions[0, 2, 4:])
    assert not torch.equal(positions[1, 0, :4], positions[0, 0, :4])


def test_width_that_axes_cannot_share_is_zero():
    positions = grid_positions((2, 2, 2), 10)
    assert positions.shape == (8, 10)
    assert torch.equal(positions[:, 6:], torch.zeros(8, 4))


def test_every_cell_has_a_position_of_its_own():
    assert len(grid_positions((3, 4, 5), 12).unique(dim=0)) == 60


def test_axis_of_one_cell_has_no_position():
    assert not grid_positions((1, 4), 8)[:, :4].any()


def test_points_on_cells_have_the_positions_of_the_cells():
    cells, points = grid_positions((2, 3), 8), torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    torch.testing.assert_close(grid_positions((2, 3), 8, points), cells[[2, 4]])


def test_spread_points_are_the_middles_of_equal_boxes():
    points = spread_points(8, (16, 4, 4))
    assert points[:, 0].tolist() == [3.5] * 4 + [11.5] * 4
    assert points[:4, 1:].tolist() == [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]


@pytest.mark.parametrize("count", [1, 2, 5, 11, 64, 125])
def test_any_number_of_points_is_spread_within_the_grid(count):
    points = spread_points(count, (5, 8, 8))
    assert points.shape == (count, 3)
    assert (points >= -0.5).all()
    assert (points <= torch.tensor([4.5, 7.5, 7.5])).all()
    torch.testing.assert_close(points.mean(dim=0), torch.tensor([2.0, 3.5, 3.5]))
