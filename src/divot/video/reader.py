"""Frames of a video file by number, by time or one after another, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from divot.config.errors import VideoReadError
from divot.video.frame_table import FrameSource, FrameTable
from divot.video.pictures import PictureFile, is_picture

Resize = Callable[[np.ndarray], np.ndarray]
Walk = Iterator[tuple[int, Callable[[], np.ndarray]]]


class VideoReader:
    """A video file, open for reading; use it in a `with` block.

    Reads what FFmpeg and Pillow decode: mp4, mov, mkv, webm, avi, gif, webp, png, jpg and more, told apart by
    content and not by name. Frames come upright, RGB, uint8 [H, W, 3]. The first frame is at 0 s. Only the
    frames asked for are kept; decoding starts at the key frame before them.

    Args:
        path: the file.
        num_threads: threads that decode; 0 lets the decoder choose.

    Raises:
        VideoReadError: if the file is missing, empty, no video, or none of its frames can be decoded.
    """

    def __init__(self, path: str | Path, num_threads: int = 1) -> None:
        self.path = Path(path)
        _check_file(self.path)
        self._source: FrameSource
        if is_picture(self.path):
            self._source = PictureFile(self.path)
        else:
            # Imported here: a page of pictures needs no video decoder.
            from divot.video.stream import VideoStream

            self._source = VideoStream(self.path.resolve(), num_threads)

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._source.close()

    @property
    def codec(self) -> str:
        """Name of the codec, as FFmpeg has it; of the format, for pictures."""
        return self._source.codec

    @property
    def width(self) -> int:
        """Width of the upright frame, pixels."""
        return self._source.width

    @property
    def height(self) -> int:
        """Height of the upright frame, pixels."""
        return self._source.height

    @property
    def num_frames(self) -> int:
        """Frames in the video, counted; for a file cut short with those its header promises, estimated."""
        return self._table.num_promised

    @property
    def rate_fps(self) -> float:
        """Average frames a second."""
        return self._table.rate_fps

    @property
    def duration_s(self) -> float:
        """From the first frame's beginning to the last one's end, seconds; promised, for a file cut short."""
        return self._table.promised_end_s

    @property
    def times_s(self) -> np.ndarray:
        """When each frame that the file has appears, seconds, float64 [n]."""
        return self._table.times_s.copy()

    def frames_at(self, indices: Sequence[int], resize: Resize | None = None) -> np.ndarray:
        """Frames by number, in any order, repeats allowed.

        Args:
            indices: frame numbers from 0 to `num_frames` - 1, one at least.
            resize: applied to each frame as it is read; all results must have one shape.

        Returns:
            uint8 [T, H, W, 3].

        Raises:
            ValueError: if there is no index, or one outside the video.
            VideoReadError: if a frame cannot be decoded or is damaged.
        """
        wanted = [int(index) for index in indices]
        if not wanted:
            raise ValueError("indices: got none, wanted one or more")
        if min(wanted) < 0 or max(wanted) >= self.num_frames:
            raise ValueError(
                f"indices: got {min(wanted)} to {max(wanted)}, wanted 0 to {self.num_frames - 1}"
            )
        ordered = sorted(set(wanted))
        frames = dict(zip(ordered, self._frames(ordered, resize), strict=True))
        return np.stack([frames[index] for index in wanted])

    def frames_at_times(self, times_s: Sequence[float], resize: Resize | None = None) -> np.ndarray:
        """The frames on display at given moments, in any order.

        Args:
            times_s: seconds from 0 to `duration_s`; at its very end the last frame is still on display.
            resize: as in `frames_at`.

        Returns:
            uint8 [T, H, W, 3].

        Raises:
            ValueError: if there is no moment, or one outside the video.
            VideoReadError: if a frame cannot be decoded or is damaged.
        """
        return self.frames_at([self._index_at(time_s) for time_s in times_s], resize)

    def stream_at_times(self, times_s: Iterable[float], resize: Resize | None = None) -> Iterator[np.ndarray]:
        """The frames on display at moments that only go forward, one by one: one pass, one frame in memory.

        Args:
            times_s: seconds from 0 to `duration_s`, never decreasing; taken as needed.
            resize: applied to each frame as it is read.

        Yields:
            uint8 [H, W, 3], the same array again while the same frame is on display.

        Raises:
            ValueError: if a moment is outside the video or before the last one.
            VideoReadError: if a frame cannot be decoded or is damaged.
        """
        return self._frames((self._index_at(time_s) for time_s in times_s), resize)

    def iterate(
        self, start_s: float = 0.0, resize: Resize | None = None
    ) -> Iterator[tuple[float, np.ndarray]]:
        """All frames from the one on display at `start_s` on.

        Yields:
            The moment the frame appears, seconds, and the frame, uint8 [H, W, 3].

        Raises:
            ValueError: if `start_s` is outside the video.
            VideoReadError: if a frame cannot be decoded, is damaged, or the file ends before its header says.
        """
        first = self._index_at(start_s)
        indices = range(first, self.num_frames)
        for index, frame in zip(indices, self._frames(indices, resize), strict=True):
            yield float(self._table.times_s[index]), frame

    @property
    def _table(self) -> FrameTable:
        return self._source.table

    def _index_at(self, time_s: float) -> int:
        if not 0 <= time_s <= self.duration_s + 1e-6:
            raise ValueError(f"time_s: got {time_s}, wanted 0 to {self.duration_s:.6f}")
        return self._table.index_at(time_s)

    def _frames(self, indices: Iterable[int], resize: Resize | None) -> Iterator[np.ndarray]:
        """Frames of numbers that never decrease."""
        walk: Walk | None = None
        reached, held = -1, None
        for index in indices:
            if index < reached:
                raise ValueError(
                    f"times_s: frame {index} was asked for after frame {reached}, wanted forward only"
                )
            if held is not None and index == reached:
                yield held
                continue
            if index >= self._table.num_found:
                raise self._cut_short(index)
            if walk is None or self._source.entry(index) > reached + 1:
                walk = self._source.walk(index)
            picture = self._picture_of(index, walk)
            frame = picture()
            reached, held = index, frame if resize is None else resize(frame)
            yield held

    def _picture_of(self, index: int, walk: Walk) -> Callable[[], np.ndarray]:
        for number, picture in walk:
            if number == index:
                return picture
            if number > index:
                break
        raise self._undecodable(index)

    def _undecodable(self, index: int) -> VideoReadError:
        at_s = self._table.times_s[index]
        return VideoReadError(
            self.path,
            f"frame {index} (at {at_s:.2f} s) cannot be decoded",
            "Get the file again, or read only what comes before",
        )

    def _cut_short(self, index: int) -> VideoReadError:
        table = self._table
        return VideoReadError(
            self.path,
            f"frame {index} was asked for, but the file is cut short: {table.end_s:.2f} of "
            f"{table.promised_end_s:.2f} s are there, frames 0 to {table.num_found - 1}",
            "Get the file again, or read only what is there",
        )


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise VideoReadError(path, "there is no such file", "Check the path")
        if not path.is_file():
            raise VideoReadError(
                path, "it is a folder or a device, not a file", "Give the path of one video file"
            )
        with open(path, "rb") as file:
            if not file.read(1):
                raise VideoReadError(
                    path, "the file is empty", "Get it again: the download or copy did not finish"
                )
    except OSError as error:
        raise VideoReadError(
            path, f"it cannot be opened ({error.strerror})", "Check its permissions"
        ) from error
