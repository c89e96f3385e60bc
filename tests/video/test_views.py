"""Views of a clip: the same clip, moved."""

import pytest
import torch

from divot.video import MAX_VIEWS, views_of


def test_the_first_is_the_clip_and_the_others_are_it_moved():
    clip = torch.randn(5, 3, 8, 8)
    views = views_of(clip, MAX_VIEWS, 2)
    assert torch.equal(views[0], clip)
    # To the right and down by two; what moves in repeats the edge.
    assert torch.equal(views[1, ..., 2:, 2:], clip[..., :-2, :-2])
    assert torch.equal(views[1, ..., 0, 2:], clip[..., 0, :-2])
    assert torch.equal(views[2, ..., :-2, :-2], clip[..., 2:, 2:])
    assert torch.equal(views[3, ..., :-2, 2:], clip[..., 2:, :-2])
    assert len({view.sum().item() for view in views}) == MAX_VIEWS


@pytest.mark.parametrize("count", [0, MAX_VIEWS + 1])
def test_there_are_only_so_many(count):
    with pytest.raises(ValueError, match=f"count: got {count}"):
        views_of(torch.zeros(5, 3, 8, 8), count, 1)
