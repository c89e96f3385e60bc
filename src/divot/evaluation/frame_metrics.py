"""How near frames are to frames: PSNR, SSIM, and the pixels that move. All on uint8 frames [T, H, W, 3]."""

from __future__ import annotations

import math

import numpy as np
import torch

from divot.config.errors import DivotError
from divot.video import CLIP_FRAMES, SEEN_FRAMES

MAX_PSNR_DB = 100.0
"""Given for equal frames, whose PSNR is infinite, so that means stay finite."""
MOVING_THRESHOLD = 8
"""A pixel moves where a colour differs by more than this (levels of 255): more than most codecs' noise."""
UNSEEN_FRAMES = tuple(frame for frame in range(CLIP_FRAMES) if frame not in SEEN_FRAMES)
# Halfway between two seen frames the earlier one is taken: min() keeps the first.
NEAREST_SEEN = tuple(min(SEEN_FRAMES, key=lambda s: abs(s - frame)) for frame in range(CLIP_FRAMES))
_PEAK = 255.0


def psnr(frames: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio: 10 log10(255^2 / MSE), the MSE over all frames, pixels and colours at once.

    On levels 0 to 255; the same number as 10 log10(4 / MSE) of the same frames in [-1, 1].

    Args:
        frames: uint8 [T, H, W, 3].
        reference: uint8, of a shape that broadcasts to that of `frames`.
        mask: bool [T, H, W], the pixels that count; None counts all.

    Returns:
        dB, at most `MAX_PSNR_DB`.

    Raises:
        ValueError: if there is no pixel to count.
    """
    difference = frames.astype(np.float32) - reference.astype(np.float32)
    if mask is not None:
        difference = difference[mask]
    if difference.size == 0:
        raise ValueError("mask: got no pixel, wanted one or more")
    mse = float(np.mean(np.square(difference), dtype=np.float64))
    return min(MAX_PSNR_DB, 10 * math.log10(_PEAK**2 / mse)) if mse > 0 else MAX_PSNR_DB


def ssim(frames: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity, the mean over frames and colours; 1 for equal frames.

    By torchmetrics: Gaussian window of 11 pixels, sigma 1.5, edges reflected, data range 255 (uint8 levels).

    Args:
        frames: uint8 [T, H, W, 3].
        reference: uint8 [T, H, W, 3].

    Raises:
        DivotError: if torchmetrics is not installed.
    """
    require_torchmetrics()
    from torchmetrics.functional.image import structural_similarity_index_measure

    first, second = (torch.from_numpy(x).permute(0, 3, 1, 2).float() for x in (frames, reference))
    similarity = structural_similarity_index_measure(first, second, data_range=_PEAK)
    assert isinstance(similarity, torch.Tensor)
    return float(similarity)


def require_torchmetrics() -> None:
    """Say early that a package is missing, before minutes of work.

    Raises:
        DivotError: if torchmetrics is not installed.
    """
    try:
        import torchmetrics  # noqa: F401
    except ImportError as error:
        remedy = "Install it with `pip install 'divot-video[eval]'`"
        raise DivotError("evaluation", "torchmetrics is not installed", remedy) from error


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
