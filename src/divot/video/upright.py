"""Turning stored pictures the way they are meant to be seen: the display matrix that phones write."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Turn:
    """A number of quarter turns and a mirror, as an axis swap and two flips (done in this order).

    Attributes:
        is_swapped: rows become columns.
        is_mirrored: then left and right change places.
        is_flipped: then top and bottom change places.
    """

    is_swapped: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Turn one frame, [H, W, 3], into [H, W, 3] or [W, H, 3]."""
        if self.is_swapped:
            frame = frame.transpose(1, 0, 2)
        if self.is_mirrored:
            frame = frame[:, ::-1]
        if self.is_flipped:
            frame = frame[::-1]
        return np.ascontiguousarray(frame)


def turn_of_matrix(matrix: bytes) -> Turn:
    """Read a display matrix: 9 int32 (a b u, c d v, x y w) that send (x, y) to (ax + cy, bx + dy).

    Angles between quarter turns become the nearest quarter turn; a matrix of the wrong length turns nothing.
    """
    if len(matrix) != 9 * 4:
        return Turn()
    a, b, _, c, d = (int(v) for v in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) > abs(a):
        return Turn(is_swapped=True, is_mirrored=c < 0, is_flipped=b < 0)
    return Turn(is_mirrored=a < 0, is_flipped=d < 0)
