"""One clip seen several times, each time moved by a little: what is read rightly in all of them counts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Steps to the right and down. Along diagonals: every edge moves.
_MOVES = ((0, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
MAX_VIEWS = len(_MOVES)


def views_of(frames_FCHW: Tensor, count: int, step_px: int) -> Tensor:
    """The clip as it is, and moved along the diagonals; what moves in at an edge repeats the edge.

    Args:
        frames_FCHW: [F, C, H, W].
        count: V, 1 to `MAX_VIEWS`.
        step_px: by how much.

    Returns:
        [V, F, C, H, W].

    Raises:
        ValueError: if there are not so many views.
    """
    if not 1 <= count <= MAX_VIEWS:
        raise ValueError(f"count: got {count}, wanted 1 to {MAX_VIEWS}")
    height, width = frames_FCHW.shape[-2:]
    wide = F.pad(frames_FCHW, (step_px,) * 4, mode="replicate")
    corners = [(step_px * (1 - down), step_px * (1 - right)) for right, down in _MOVES[:count]]
    return torch.stack([wide[..., top : top + height, left : left + width] for top, left in corners])
