"""The pixels that move, in the frames that the tokenizer does not see."""

from __future__ import annotations

import numpy as np

from divot.video import CLIP_FRAMES, SEEN_FRAMES

MOVING_THRESHOLD = 8
"""A pixel moves where a colour differs by more than this (levels of 255): more than most codecs' noise."""
UNSEEN_FRAMES = tuple(frame for frame in range(CLIP_FRAMES) if frame not in SEEN_FRAMES)
# Halfway between two seen frames the earlier one is taken: min() keeps the first.
NEAREST_SEEN = tuple(min(SEEN_FRAMES, key=lambda s: abs(s - frame)) for frame in range(CLIP_FRAMES))


def moving_pixels(frames: np.ndarray) -> np.ndarray:
    """The pixels that a still of a seen frame would get wrong, in the frames that the tokenizer does not see.

    A pixel of an unseen frame moves if one of its colours differs by more than `MOVING_THRESHOLD` levels from
    the same pixel of the nearest seen frame (`NEAREST_SEEN`). Decided on the true clip alone.

    Args:
        frames: the true clip, uint8 [16, H, W, 3].

    Returns:
        bool [16, H, W]; False everywhere in the seen frames.
    """
    difference = np.abs(frames.astype(np.int16) - frames[list(NEAREST_SEEN)].astype(np.int16))
    return difference.max(axis=-1) > MOVING_THRESHOLD
