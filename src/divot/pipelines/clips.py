"""A video file, or frames in memory, to clips in the sizes that models take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from divot.video import (
    CLIP_FRAMES,
    CLIP_RATE_FPS,
    Clip,
    Fit,
    VideoReader,
    consecutive_clips,
    iterate_clips,
    square_frames,
)

Source = str | Path | np.ndarray
"""A video file, or frames uint8 [T, H, W, 3] at 8 a second."""


def count_clips(source: Source) -> int:
    """Number of clips in a video.

    Raises:
        VideoReadError: if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        duration_s = len(source) / CLIP_RATE_FPS
    else:
        with VideoReader(source) as reader:
            duration_s = reader.duration_s
    return sum(1 for _ in consecutive_clips(duration_s))


def clips_in_sizes(
    source: Source, sizes_px: tuple[int, ...], fit: Fit = "crop", skip: int = 0
) -> Iterator[tuple[Clip, list[torch.Tensor]]]:
    """The clips of a video, each in several sizes.

    Args:
        source: a video file, or frames uint8 [T, H, W, 3] at 8 a second.
        sizes_px: sides wanted; a file is decoded once a different size.
        fit: how frames are made square.
        skip: clips to leave out at the start.

    Yields:
        The clip's place, and for each size float32 [16, 3, S, S] in [-1, 1].

    Raises:
        ValueError: if an array is not uint8 [T, H, W, 3].
        VideoReadError: if the file cannot be read, or not further.
    """
    different = sorted(set(sizes_px))
    streams = [_clips(source, size, fit, skip) for size in different]
    for together in zip(*streams, strict=True):
        frames = {size: tensor for size, (_, tensor) in zip(different, together, strict=True)}
        yield together[0][0], [frames[size] for size in sizes_px]


def _clips(source: Source, size_px: int, fit: Fit, skip: int) -> Iterator[tuple[Clip, torch.Tensor]]:
    if not isinstance(source, np.ndarray):
        yield from iterate_clips(source, size_px=size_px, fit=fit, skip=skip)
        return
    for clip in consecutive_clips(len(source) / CLIP_RATE_FPS, skip):
        first = clip.index * CLIP_FRAMES
        moments = np.minimum(np.arange(first, first + CLIP_FRAMES), len(source) - 1)
        yield clip, square_frames(source[moments], size_px, fit)


def true_frames(clips: list[Clip]) -> np.ndarray:
    """Which frames of the clips, one clip after another, have their own moment of the video: bool [T]."""
    counts = [min(CLIP_FRAMES, max(1, round(clip.duration_s * CLIP_RATE_FPS))) for clip in clips]
    return np.concatenate([np.arange(CLIP_FRAMES) < count for count in counts])
