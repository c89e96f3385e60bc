"""How near a reconstruction is to its original: PSNR and SSIM, for `divot reconstruct` and the evaluations alike; and
how much a film jumps where its clips meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

# Frames that are equal to the last bit have no finite PSNR.
MAX_PSNR_DB = 100.0
_PEAK = 255.0
# A long video is not held as floats.
_FRAMES_AT_ONCE = 64


def psnr(frames: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio: 10 log10(255^2 / MSE), the MSE over all frames, pixels and colours at once.

    On levels 0 to 255; the same number as 10 log10(4 / MSE) of the same frames in [-1, 1].

    Args:
        frames: uint8 [T, H, W, 3].
        reference: uint8, of a shape that broadcasts to that of `frames`.
        mask: bool [T, H, W], the pixels that count; None counts all.

    Returns:
        dB, at most `MAX_PSNR_DB`, which equal frames get.

    Raises:
        ValueError: if there is no pixel to count, or the shapes do not fit.
    """
    reference = np.broadcast_to(reference, frames.shape)
    total, count = 0.0, 0
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        difference = frames[part].astype(np.float32) - reference[part]
        if mask is not None:
            difference = difference[mask[part]]
        total += float(np.sum(np.square(difference), dtype=np.float64))
        count += difference.size
    if count == 0:
        raise ValueError("mask: got no pixel, wanted one or more")
    return min(MAX_PSNR_DB, 10 * math.log10(_PEAK**2 * count / total)) if total > 0 else MAX_PSNR_DB


def ssim(frames: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity, the mean over frames and colours; 1 for equal frames.

    By torchmetrics: Gaussian window of 11 pixels, sigma 1.5, edges reflected, data range 255 (uint8 levels).

    Args:
        frames: uint8 [T, H, W, 3], at least 11 x 11.
        reference: uint8, of the same shape.

    Raises:
        ValueError: if the shapes differ.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if frames.shape != reference.shape:
        raise ValueError(f"reference: got shape {list(reference.shape)}, wanted {list(frames.shape)}")
    total = 0.0
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        similarity = structural_similarity_index_measure(
            _planes(frames[part]), _planes(reference[part]), data_range=_PEAK
        )
        assert isinstance(similarity, torch.Tensor)
        total += len(frames[part]) * float(similarity)
    return total / len(frames)


def seam_jump(frames: np.ndarray, seams: Sequence[int]) -> float | None:
    """How much more a film changes at its seams than elsewhere; 1 means no jump.

    The mean absolute difference between the two frames at a seam over that between neighbours inside a clip.

    Args:
        frames: uint8 [T, H, W, 3].
        seams: number of the first frame after each seam.

    Returns:
        The ratio of both; None where nothing changes inside the clips.

    Raises:
        ValueError: if there is no seam, one is outside the film, or all neighbours are at one.
    """
    if not seams or min(seams) < 1 or max(seams) >= len(frames):
        raise ValueError(f"seams: got {list(seams)}, wanted one or more of 1 to {len(frames) - 1}")
    changes = np.array(
        [np.mean(np.abs(after.astype(np.int16) - before)) for before, after in pairwise(frames)]
    )
    is_seam = np.zeros(len(changes), bool)
    is_seam[np.array(seams) - 1] = True
    if is_seam.all():
        raise ValueError(f"seams: got {list(seams)}, wanted neighbours that are not at one")
    inside = float(changes[~is_seam].mean())
    return float(changes[is_seam].mean()) / inside if inside > 0 else None


def _planes(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float32))
