"""A video file, or frames in memory, to clips as the models take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from divot.config.errors import RecipeError
from divot.video import (
    CLIP_DURATION_S,
    CLIP_FRAMES,
    CLIP_RATE_FPS,
    SEEN_FRAMES,
    Clip,
    Fit,
    SquareFit,
    VideoReader,
    consecutive_clips,
    from_uint8,
    iterate_clips,
    official_comprehension_indices,
    official_reconstruction_indices,
    spread_clips,
    square_frames,
)
from divot.video.pictures import is_picture

Source = str | Path | np.ndarray
"""A video file, or frames uint8 [T, H, W, 3] at 8 a second."""
Sampling = Literal["consecutive", "spread", "official-comprehension", "official-reconstruction"]
"""Which clips of a video are read: one after another; at most so many of these, evenly spread; or as the official
evaluation does (of understanding: up to 20 spread over the video; of reconstruction: the first)."""
MAX_SPREAD_CLIPS = 20
"""Most clips that `spread` reads unless told otherwise; as in the paper."""


def count_clips(source: Source, sampling: Sampling = "consecutive", max_clips: int = MAX_SPREAD_CLIPS) -> int:
    """Number of clips in a video; `max_clips` is of the sampling `spread`.

    Raises:
        RecipeError: if there is no such sampling.
        VideoReadError: if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        num_frames, rate_fps, duration_s = len(source), float(CLIP_RATE_FPS), len(source) / CLIP_RATE_FPS
    else:
        with VideoReader(source) as reader:
            num_frames, rate_fps, duration_s = reader.num_frames, reader.rate_fps, reader.duration_s
    if sampling == "consecutive":
        return sum(1 for _ in consecutive_clips(duration_s))
    if sampling == "spread":
        return len(spread_clips(duration_s, max_clips))
    return len(_official_places(num_frames, rate_fps, sampling))


def is_still(source: Source) -> bool:
    """Whether a source is a picture: a single frame.

    Raises:
        VideoReadError: if the file cannot be read.
    """
    if isinstance(source, np.ndarray):
        return len(source) == 1
    try:
        may_be = is_picture(Path(source))
    except OSError:
        # The reader says what is wrong with it.
        may_be = True
    if not may_be:
        return False
    with VideoReader(source) as reader:
        return reader.num_frames == 1


def whole_clips(
    source: Source, size_px: int, fit: Fit = "crop", skip: int = 0
) -> Iterator[tuple[Clip, torch.Tensor]]:
    """The consecutive clips of a video, all 16 frames of each.

    Args:
        source: a video file, or frames uint8 [T, H, W, 3] at 8 a second.
        size_px: side S of the frames.
        fit: how frames are made square.
        skip: clips to leave out at the start.

    Yields:
        The clip's place, and float32 [16, 3, S, S] in [-1, 1].

    Raises:
        ValueError: if an array is not uint8 [T, H, W, 3].
        VideoReadError: if the file cannot be read, or not further.
    """
    if not isinstance(source, np.ndarray):
        yield from iterate_clips(source, size_px=size_px, fit=fit, skip=skip)
        return
    for clip in consecutive_clips(len(source) / CLIP_RATE_FPS, skip):
        first = clip.index * CLIP_FRAMES
        moments = np.minimum(np.arange(first, first + CLIP_FRAMES), len(source) - 1)
        yield clip, square_frames(source[moments], size_px, fit)


def seen_clips(
    source: Source,
    size_px: int,
    fit: Fit = "crop",
    skip: int = 0,
    sampling: Sampling = "consecutive",
    max_clips: int = MAX_SPREAD_CLIPS,
) -> Iterator[tuple[Clip, torch.Tensor]]:
    """The clips of a video, of each the frames that the tokenizer sees; arguments and errors as `whole_clips`.

    `max_clips` is of the sampling `spread`.

    Yields:
        The clip's place, and float32 [5, 3, S, S] in [-1, 1].

    Raises:
        RecipeError: if there is no such sampling.
    """
    if sampling == "consecutive":
        for clip, frames in whole_clips(source, size_px, fit, skip):
            yield clip, frames[list(SEEN_FRAMES)]
    elif sampling == "spread":
        yield from _spread(source, size_px, fit, skip, max_clips)
    elif isinstance(source, np.ndarray):
        for clip, indices in _official_places(len(source), CLIP_RATE_FPS, sampling)[skip:]:
            yield clip, square_frames(source[list(indices)], size_px, fit)
    else:
        square = SquareFit(size_px, fit)
        with VideoReader(source) as reader:
            for clip, indices in _official_places(reader.num_frames, reader.rate_fps, sampling)[skip:]:
                yield clip, from_uint8(reader.frames_at(indices, square))


def _spread(
    source: Source, size_px: int, fit: Fit, skip: int, max_clips: int
) -> Iterator[tuple[Clip, torch.Tensor]]:
    """At most so many clips of the video with the frames that the tokenizer sees of each."""
    seen = list(SEEN_FRAMES)
    if isinstance(source, np.ndarray):
        places = spread_clips(len(source) / CLIP_RATE_FPS, max_clips)
        for number, clip in enumerate(places[skip:], start=skip):
            moments = np.minimum(clip.index * CLIP_FRAMES + np.array(seen), len(source) - 1)
            yield replace(clip, index=number), square_frames(source[moments], size_px, fit)
        return
    square = SquareFit(size_px, fit)
    with VideoReader(source) as reader:
        places = spread_clips(reader.duration_s, max_clips)
        for number, clip in enumerate(places[skip:], start=skip):
            times_s = [clip.times_s[frame] for frame in seen]
            yield replace(clip, index=number), from_uint8(reader.frames_at_times(times_s, square))


def _official_places(
    num_frames: int, rate_fps: float, sampling: Sampling
) -> list[tuple[Clip, tuple[int, ...]]]:
    """Each clip of an official sampling with the 5 frames that are read."""
    if sampling == "official-comprehension":
        rows = official_comprehension_indices(num_frames, rate_fps)
    elif sampling == "official-reconstruction":
        rows = [official_reconstruction_indices(num_frames, rate_fps)]
    else:
        known = "consecutive, spread, official-comprehension or official-reconstruction"
        raise RecipeError("sampling", f"{sampling!r} is not known", f"Give {known}")
    lengths_s = [min(CLIP_DURATION_S, (num_frames - row[0]) / rate_fps) for row in rows]
    return [
        (Clip(index, row[0] / rate_fps, length_s), row)
        for index, (row, length_s) in enumerate(zip(rows, lengths_s, strict=True))
    ]


def true_frames(clips: list[Clip]) -> np.ndarray:
    """Which frames of the clips, one clip after another, have their own moment of the video: bool [T]."""
    counts = [min(CLIP_FRAMES, max(1, round(clip.duration_s * CLIP_RATE_FPS))) for clip in clips]
    return np.concatenate([np.arange(CLIP_FRAMES) < count for count in counts])


def whole_clip_encoder(
    tokenizer: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """From whole clips [B, 16, 3, H, W] in [-1, 1] to tokens [B, N, D], by a tokenizer of that type of weights."""
    return lambda frames_BFCHW: tokenizer(frames_BFCHW[:, list(SEEN_FRAMES)].to(dtype))
