"""File to clips: one clip at a given moment, or all the clips of a video of any length in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from divot.video.clips import CLIP_DURATION_S, CLIP_FRAMES, Clip, consecutive_clips
from divot.video.reader import VideoReader
from divot.video.transform import Fit, SquareFit, from_uint8


def load_clip(path: str | Path, *, start_s: float = 0.0, size_px: int, fit: Fit = "crop") -> torch.Tensor:
    """Read one clip: 16 frames over 2 seconds, each the frame on display at its moment.

    Args:
        path: the video file.
        start_s: when the clip begins, seconds. Where the video ends inside the clip its last frame is held.
        size_px: side S of the square.
        fit: how the picture is made square, see `SquareFit`.

    Returns:
        float32 [16, 3, S, S] in [-1, 1].

    Raises:
        ValueError: if `start_s` is not inside the video.
        VideoReadError: if the file cannot be read.
    """
    square = SquareFit(size_px, fit)
    with VideoReader(path) as reader:
        if not 0 <= start_s < reader.duration_s:
            raise ValueError(
                f"start_s: got {start_s}, wanted 0 or more and less than {reader.duration_s:.3f}"
            )
        clip = Clip(0, start_s, min(CLIP_DURATION_S, reader.duration_s - start_s))
        return from_uint8(reader.frames_at_times(clip.times_s, square))


def iterate_clips(
    path: str | Path, *, size_px: int, fit: Fit = "crop", skip: int = 0, num_threads: int = 1
) -> Iterator[tuple[Clip, torch.Tensor]]:
    """Read a video of any length clip by clip, in one decoding pass; one clip is in memory at a time.

    Args:
        path: the video file.
        size_px: side S of the square.
        fit: how the picture is made square, see `SquareFit`.
        skip: clips to leave out at the start; reading begins there, not at the file's beginning.
        num_threads: threads that decode; 0 lets the decoder choose.

    Yields:
        The clip's place in the video, and float32 [16, 3, S, S] in [-1, 1].

    Raises:
        ValueError: if an option is out of range.
        VideoReadError: if the file cannot be read, or not further; the clips before that were given.
    """
    square = SquareFit(size_px, fit)
    with VideoReader(path, num_threads) as reader:
        duration_s = reader.duration_s
        times_s = (time_s for clip in consecutive_clips(duration_s, skip) for time_s in clip.times_s)
        frames = reader.stream_at_times(times_s, square)
        for clip in consecutive_clips(duration_s, skip):
            yield clip, from_uint8(np.stack(list(islice(frames, CLIP_FRAMES))))
