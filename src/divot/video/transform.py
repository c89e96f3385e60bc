"""Frames as files hold them to frames as models take them, and back.

Outside: uint8 [T, H, W, 3], 0 to 255. Inside: float32 [T, 3, S, S], -1 to 1. Resizing is Pillow's (bilinear,
widened when shrinking), so that the numbers are those of the official preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image

Fit = Literal["crop", "letterbox", "stretch"]


@dataclass(frozen=True)
class SquareFit:
    """Makes a picture square, one frame at a time: give it to a reader and large frames are never held.

    Attributes:
        size_px: side of the square, S.
        fit: `crop` resizes the short side to S and cuts the middle out (the official way); `letterbox`
            resizes the long side and adds black bars; `stretch` gives up the aspect ratio.
    """

    size_px: int
    fit: Fit = "crop"

    def __post_init__(self) -> None:
        if self.size_px < 1:
            raise ValueError(f"size_px: got {self.size_px}, wanted 1 or more")
        if self.fit not in get_args(Fit):
            raise ValueError(f"fit: got {self.fit!r}, wanted one of {', '.join(get_args(Fit))}")

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Fit one frame, uint8 [H, W, 3], into uint8 [S, S, 3]."""
        size, (height, width) = self.size_px, frame.shape[:2]
        if self.fit == "stretch":
            return _resized(frame, size, size)
        if self.fit == "letterbox":
            scale = size / max(height, width)
            inner = _resized(frame, max(1, round(height * scale)), max(1, round(width * scale)))
            out = np.zeros((size, size, 3), np.uint8)
            top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
            out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
            return out
        # The long side is cut, not rounded, and the crop's corner rounded half to even: torchvision's rules.
        short = min(height, width)
        inner = _resized(frame, int(size * height / short), int(size * width / short))
        top, left = round((inner.shape[0] - size) / 2.0), round((inner.shape[1] - size) / 2.0)
        return np.ascontiguousarray(inner[top : top + size, left : left + size])


def square_frames(frames: np.ndarray, size_px: int, fit: Fit = "crop") -> torch.Tensor:
    """Frames of any size as a model takes them.

    Args:
        frames: uint8 [T, H, W, 3].
        size_px: side S of the result.
        fit: see `SquareFit`.

    Returns:
        float32 [T, 3, S, S] in [-1, 1].

    Raises:
        ValueError: if `frames` is not uint8 [T, H, W, 3] with T, H, W above 0, or an option is unknown.
    """
    _check_frames(frames)
    square = SquareFit(size_px, fit)
    return from_uint8(np.stack([square(frame) for frame in frames]))


def from_uint8(frames: np.ndarray) -> torch.Tensor:
    """Frames, uint8 [T, H, W, 3], to float32 [T, 3, H, W] in [-1, 1].

    Raises:
        ValueError: if `frames` is not uint8 [T, H, W, 3] with T, H, W above 0.
    """
    _check_frames(frames)
    return signed(torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))))


def signed(frames: torch.Tensor) -> torch.Tensor:
    """Bytes of any shape to float32 in [-1, 1]; what has floats already stays as it is."""
    if frames.dtype != torch.uint8:
        return frames
    # In this order and not as x / 127.5 - 1: the last bit is then the official one.
    return frames.float().div_(255).sub_(0.5).div_(0.5)


def to_uint8(video: torch.Tensor) -> np.ndarray:
    """A video, float [T, 3, H, W] in [-1, 1], to frames, uint8 [T, H, W, 3]: rounded and clamped.

    Raises:
        ValueError: if `video` has another shape, or holds a number that is not finite.
    """
    if video.ndim != 4 or video.shape[1] != 3:
        raise ValueError(f"video: got shape {list(video.shape)}, wanted [T, 3, H, W]")
    video = video.detach().float().cpu()
    if not bool(torch.isfinite(video).all()):
        raise ValueError("video: holds numbers that are not finite, wanted [-1, 1]")
    levels = ((video + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


def _resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def _check_frames(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: got {frames.dtype} {list(frames.shape)}, wanted uint8 [T, H, W, 3]")
