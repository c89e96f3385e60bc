"""What can be shown in a clip's place without a tokenizer. Frames are uint8 [T, H, W, 3]."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from divot.evaluation.frame_metrics import NEAREST_SEEN


def constant_frame(clips: Iterable[np.ndarray]) -> np.ndarray:
    """The mean over all frames of all clips [1, H, W, 3]: no single frame has a smaller squared error."""
    means = [clip.mean(axis=0, dtype=np.float64) for clip in clips]
    return _levels(np.mean(means, axis=0))[None]


def constant_colour(clip: np.ndarray) -> np.ndarray:
    """The clip's mean colour [1, 1, 1, 3]."""
    return _levels(clip.mean(axis=(0, 1, 2), dtype=np.float64))[None, None, None]


def still(clip: np.ndarray) -> np.ndarray:
    """The clip's mean frame [1, H, W, 3]."""
    return _levels(clip.mean(axis=0, dtype=np.float64))[None]


def nearest_seen(clip: np.ndarray) -> np.ndarray:
    """The clip with each frame replaced by the nearest one that the tokenizer sees [16, H, W, 3]."""
    return clip[list(NEAREST_SEEN)]


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
