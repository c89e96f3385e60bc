"""How near a reconstruction is to its original: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

# The window of the SSIM paper: a Gaussian of 1.5 pixels, cut to 11 x 11.
_WINDOW, _SIGMA_PX = 11, 1.5
# Frames that are equal to the last bit have no finite PSNR.
MAX_PSNR_DB = 100.0
_FRAMES_AT_ONCE = 64


def psnr_db(frames: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of the mean error over all frames; equal frames count as 100.

    Args:
        frames: uint8 [T, H, W, 3].
        original: of the same shape.
    """
    _check_shapes(frames, original)
    # Frame by frame: a long video is not held as floats.
    errors = [np.mean((a.astype(np.float64) - b) ** 2) for a, b in zip(frames, original, strict=True)]
    error = float(np.mean(errors))
    return min(MAX_PSNR_DB, 10 * math.log10(255**2 / error)) if error else MAX_PSNR_DB


def ssim(frames: np.ndarray, original: np.ndarray) -> float:
    """Structural similarity, the mean over frames, colours and pixels; past the edges frames are mirrored.

    Args:
        frames: uint8 [T, H, W, 3], at least 11 x 11.
        original: of the same shape.

    Source: Wang et al. 2004; window and constants as in the paper, colours one by one. The edges are those of
    torchmetrics, so that its numbers and these are the same.
    """
    _check_shapes(frames, original)
    if min(frames.shape[1:3]) < _WINDOW:
        raise ValueError(f"frames: got {list(frames.shape)}, wanted at least {_WINDOW} x {_WINDOW} pixels")
    values = []
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        part = slice(first, first + _FRAMES_AT_ONCE)
        values.append(_ssim_of_frames(_planes(frames[part]), _planes(original[part])))
    return float(torch.cat(values).mean())


def _ssim_of_frames(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x**2
    var_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    likeness = likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return likeness.mean(dim=(1, 2, 3))


def _planes(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).astype(np.float64) / 255)


def _blurred(planes: torch.Tensor) -> torch.Tensor:
    offsets = torch.arange(_WINDOW, dtype=planes.dtype) - _WINDOW // 2
    taps = torch.exp(-(offsets**2) / (2 * _SIGMA_PX**2))
    taps = (taps / taps.sum()).view(1, 1, -1, 1)
    flat = F.pad(planes.flatten(0, 1)[:, None], (_WINDOW // 2,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(flat, taps), taps.transpose(2, 3)).squeeze(1).unflatten(0, planes.shape[:2])


def _check_shapes(frames: np.ndarray, original: np.ndarray) -> None:
    if frames.shape != original.shape:
        raise ValueError(
            f"original: got shape {list(original.shape)}, wanted {list(frames.shape)} as the frames have"
        )
