"""What a clip is: 16 frames at 8 a second, of which the tokenizer sees 5. The one home of that rule.

Training and inference ask here which frames, or which moments, of a video to read: the two samplings of the
official evaluation by frame index, a random clip for training, and consecutive clips for a video of any
length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

CLIP_FRAMES = 16
CLIP_RATE_FPS = 8
SEEN_STRIDE = 4
# Stride 4 over 16 frames ends at 12; the clip's last frame is added by hand: 0, 4, 8, 12, 15.
SEEN_FRAMES = (*range(0, CLIP_FRAMES, SEEN_STRIDE), CLIP_FRAMES - 1)
CLIP_DURATION_S = CLIP_FRAMES / CLIP_RATE_FPS

# The official evaluation reads at most this many clips of a video.
OFFICIAL_MAX_CLIPS = 20


@dataclass(frozen=True)
class Clip:
    """One clip's place in its video.

    Attributes:
        index: number of the clip in its video, from 0.
        start_s: when it begins, seconds.
        duration_s: how much video there is behind it, seconds; less than `CLIP_DURATION_S` when the video
            ends inside it: from there on the clip holds the video's last frame.
    """

    index: int
    start_s: float
    duration_s: float

    @property
    def is_whole(self) -> bool:
        """Whether every frame of the clip has its own moment of the video."""
        return self.duration_s > (CLIP_FRAMES - 1) / CLIP_RATE_FPS

    @property
    def times_s(self) -> tuple[float, ...]:
        """The 16 moments to read, seconds; those past the end of the video are its end."""
        return tuple(self.start_s + min(j / CLIP_RATE_FPS, self.duration_s) for j in range(CLIP_FRAMES))


def official_comprehension_indices(num_frames: int, rate_fps: float) -> list[tuple[int, ...]]:
    """Frames that the official evaluation of understanding reads: up to 20 clips of 5 frames.

    A video of 20 clips or more is read at 20 starts spread evenly; a shorter one clip after clip, the last of
    them squeezed into the frames that are left (down to one frame five times).

    Args:
        num_frames: frames in the video.
        rate_fps: their average rate.

    Returns:
        A tuple of 5 frame indices a clip, all within the video.

    Raises:
        ValueError: if either number is not positive.

    Source: the official evaluation script, by recorded indices.
    """
    interval = _frames_per_sample(num_frames, rate_fps)
    if int(num_frames / interval) >= OFFICIAL_MAX_CLIPS * CLIP_FRAMES:
        spacing = num_frames // OFFICIAL_MAX_CLIPS
        # Rounding the spacing down may leave less than one clip between two starts.
        interval = min(interval, spacing / CLIP_FRAMES)
        return [_seen(k * spacing, interval) for k in range(OFFICIAL_MAX_CLIPS)]
    clips = []
    start = 0.0
    while start < num_frames:
        clips.append(_seen(start, min(interval, (num_frames - start) / CLIP_FRAMES)))
        # Summed, not multiplied: the official code does, and the rounding decides some indices.
        start += CLIP_FRAMES * interval
    return clips


def official_reconstruction_indices(num_frames: int, rate_fps: float) -> tuple[int, ...]:
    """Frames that the official reconstruction reads: 5 of the first 2 seconds.

    A video shorter than that is read at a whole number of frames a step; under 16 frames that is none, which
    gives frame 0 five times, as the official code does.

    Args:
        num_frames: frames in the video.
        rate_fps: their average rate.

    Returns:
        5 frame indices, all within the video.

    Raises:
        ValueError: if either number is not positive.

    Source: the official evaluation script, by recorded indices.
    """
    interval = _frames_per_sample(num_frames, rate_fps)
    if int(num_frames / interval) < CLIP_FRAMES:
        interval = num_frames // CLIP_FRAMES
    return _seen(0, interval)


def random_clip(duration_s: float, rng: np.random.Generator) -> Clip:
    """One clip at a random start, as training draws them; every whole clip of the video is as likely.

    Args:
        duration_s: length of the video, seconds. A video shorter than a clip gives the clip that starts at 0.
        rng: where the chance comes from; one number is drawn in any case.

    Raises:
        ValueError: if `duration_s` is not positive.
    """
    _check_duration(duration_s)
    latest_s = max(0.0, duration_s - CLIP_DURATION_S)
    return Clip(0, float(rng.random()) * latest_s, min(CLIP_DURATION_S, duration_s))


def consecutive_clips(duration_s: float, skip: int = 0) -> Iterator[Clip]:
    """The clips of a whole video, one after another: clip k starts at 2k seconds.

    The last one may be partial: it keeps its place, `duration_s` tells how much of it is video, and the last
    frame is held from there on. A rest shorter than one step (1/8 s) makes no clip of its own. A video
    shorter than a clip gives one clip.

    Args:
        duration_s: length of the video, seconds.
        skip: clips to leave out at the start; the others keep their numbers.

    Raises:
        ValueError: if `duration_s` is not positive or `skip` is negative.
    """
    _check_duration(duration_s)
    if skip < 0:
        raise ValueError(f"skip: got {skip}, wanted 0 or more")
    num_whole, rest_s = divmod(duration_s, CLIP_DURATION_S)
    num_clips = max(1, int(num_whole) + (rest_s >= 1 / CLIP_RATE_FPS))
    for index in range(skip, num_clips):
        start_s = index * CLIP_DURATION_S
        yield Clip(index, start_s, min(CLIP_DURATION_S, duration_s - start_s))


def spread_clips(duration_s: float, count: int, at: float = 0.0) -> list[Clip]:
    """At most `count` of a video's consecutive clips, evenly spread over it, each with its own number; `at` as of
    `evenly_spread`.

    Raises:
        ValueError: if `duration_s` is not positive or `count` is below 1.
    """
    return evenly_spread(list(consecutive_clips(duration_s)), count, at)


def evenly_spread(clips: Sequence[Clip], count: int, at: float = 0.0) -> list[Clip]:
    """At most `count` of some clips, evenly spread over them.

    Args:
        clips: in order.
        count: of them; a single one is one that the video fills, if there is one.
        at: in which place of its part of the row each is taken, 0 for the first, to below 1.

    Raises:
        ValueError: if `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, wanted 1 or more")
    if count == 1:
        clips = [clip for clip in clips if clip.duration_s == CLIP_DURATION_S] or clips
    kept = min(count, len(clips))
    places = [int((index + at) * len(clips) / kept) for index in range(kept)]
    return [clips[min(place, len(clips) - 1)] for place in places]


def _frames_per_sample(num_frames: int, rate_fps: float) -> float:
    if num_frames < 1:
        raise ValueError(f"num_frames: got {num_frames}, wanted 1 or more")
    if not rate_fps > 0:
        raise ValueError(f"rate_fps: got {rate_fps}, wanted more than 0")
    return rate_fps / CLIP_RATE_FPS


def _seen(start: float, interval: float) -> tuple[int, ...]:
    return tuple(int(start + j * interval) for j in SEEN_FRAMES)


def _check_duration(duration_s: float) -> None:
    if not 0 < duration_s < float("inf"):
        raise ValueError(f"duration_s: got {duration_s}, wanted a positive number of seconds")
