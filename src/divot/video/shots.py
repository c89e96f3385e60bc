"""A film to its shots, the stretches between two cuts: PySceneDetect's detector on the frames of our own reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from divot.video.clips import CLIP_DURATION_S, Clip
from divot.video.reader import VideoReader

# Cuts are looked for in frames made about so wide: finer ones find the same cuts later.
_WIDTH_PX = 256


@dataclass(frozen=True)
class Shot:
    """A stretch of a video without a cut, from `start_s` up to `end_s`."""

    start_s: float
    end_s: float

    def middle_clip(self) -> Clip | None:
        """The clip in the middle of the shot; None if the shot is shorter than a clip."""
        spare_s = self.end_s - self.start_s - CLIP_DURATION_S
        # Times are sums: two seconds may come out a little shorter.
        if spare_s < -1e-6:
            return None
        return Clip(0, self.start_s + max(0.0, spare_s) / 2, CLIP_DURATION_S)


def find_shots(reader: VideoReader, on_share: Callable[[float], None] | None = None) -> list[Shot]:
    """The shots of a video in order, in one pass over all its frames.

    Args:
        reader: the video.
        on_share: called with the share of the video that is read.

    Raises:
        VideoReadError: if the video cannot be read to its end.
    """
    from scenedetect import ContentDetector, FrameTimecode

    # Cuts in quick succession all count: what is merged would be a clip with a cut inside.
    detector = ContentDetector(min_scene_len=0)
    starts_s = [0.0]
    for number, (time_s, frame) in enumerate(reader.iterate(resize=_small)):
        if detector.process_frame(FrameTimecode(number, fps=reader.rate_fps), frame):
            starts_s.append(time_s)
        if on_share is not None:
            on_share((number + 1) / reader.num_frames)
    return [Shot(*ends) for ends in zip(starts_s, [*starts_s[1:], reader.duration_s], strict=True)]


def _small(frame: np.ndarray) -> np.ndarray:
    """A frame of about `_WIDTH_PX` columns, pixels left out, the colours in OpenCV's order."""
    step = max(1, round(frame.shape[1] / _WIDTH_PX))
    return np.ascontiguousarray(frame[::step, ::step, ::-1])
