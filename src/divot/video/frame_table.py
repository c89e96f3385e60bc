"""When each frame of a video is shown: from moments to frame numbers, and what the file promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# Matroska rounds times to milliseconds: a frame may be written half of one later than it is meant.
MAX_ROUNDING_S = 0.0005


@dataclass(frozen=True)
class FrameTable:
    """The frames found in a file, in the order of display.

    Attributes:
        times_s: when each frame appears, seconds, float64 [n]; increasing, the first is 0.
        end_s: when the last frame leaves, seconds.
        rate_fps: average rate.
        tick_s: the file's smallest step of time, seconds; its times are rounded to it.
        missing_s: how much more video the file's header promises than was found; 0 for a whole file.
    """

    times_s: np.ndarray
    end_s: float
    rate_fps: float
    tick_s: float = 0.0
    missing_s: float = 0.0

    @property
    def num_found(self) -> int:
        """Frames there are."""
        return len(self.times_s)

    @property
    def num_promised(self) -> int:
        """Frames there should be: those found, and for a file cut short an estimate of those lost."""
        return self.num_found + round(self.missing_s * self.rate_fps)

    @property
    def promised_end_s(self) -> float:
        """How long the video should be, seconds."""
        return self.end_s + self.missing_s

    def index_at(self, time_s: float) -> int:
        """The frame on display at `time_s`; `num_found` where it was lost with the end of the file."""
        slack_s = min(self.tick_s / 2, MAX_ROUNDING_S) + 1e-6
        if self.missing_s and time_s + slack_s >= self.end_s:
            return self.num_found
        return max(0, int(np.searchsorted(self.times_s, time_s + slack_s, side="right")) - 1)


class FrameSource(Protocol):
    """What a reader needs of a file, be it a stream of packets or a picture."""

    codec: str
    width: int
    height: int

    @property
    def table(self) -> FrameTable:
        """When each frame is shown; made at the first call."""

    def entry(self, index: int) -> int:
        """The frame where decoding has to begin to reach `index`."""

    def walk(self, first: int) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        """Frames in order from `entry(first)` or before: number, and a call that gives uint8 [H, W, 3]."""

    def close(self) -> None:
        """Let go of the file."""
