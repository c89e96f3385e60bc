"""Picture files opened with Pillow: a still is a video of one frame; gif, webp and png may be animated."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from divot.config.errors import VideoReadError
from divot.video.frame_table import FrameTable

_ANIMATED = frozenset({"GIF", "WEBP", "PNG"})
_DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# What browsers show a frame for that asks for no time at all, or for so little.
_UNTIMED_FRAME_MS, _TOO_SHORT_MS = 100, 10
_STILL_S = 1.0


def is_picture(path: Path) -> bool:
    """Whether the file begins as a gif, png, jpg, webp, bmp or tiff, whatever it is called."""
    with open(path, "rb") as file:
        head = file.read(12)
    # Raw motion jpeg is one jpg after another: only its name tells.
    is_jpeg = head[:3] == b"\xff\xd8\xff" and path.suffix.lower() not in (".mjpeg", ".mjpg")
    is_webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return is_jpeg or is_webp or head.startswith((b"GIF8", b"\x89PNG\r\n", b"BM", b"II*\0", b"MM\0*"))


class PictureFile:
    """A still or animated picture, as a `FrameSource`. What is transparent is laid on white.

    Raises:
        VideoReadError: if the first frame cannot be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._image = Image.open(path)
        except _DAMAGE as error:
            raise self._error("its header is damaged or of an unknown kind") from error
        try:
            self.codec = (self._image.format or "picture").lower()
            is_animated = self._image.format in _ANIMATED
            self._num_frames: int = getattr(self._image, "n_frames", 1) if is_animated else 1
            self.height, self.width = self._picture(0).shape[:2]
        except BaseException as error:
            self._image.close()
            if isinstance(error, _DAMAGE):
                raise self._error("it cannot be decoded") from error
            raise

    @cached_property
    def table(self) -> FrameTable:
        """When each frame is shown, by the durations the frames ask for; a still stays for a second."""
        if self._num_frames == 1:
            return FrameTable(np.zeros(1), _STILL_S, 1 / _STILL_S)
        ends_ms = np.cumsum([self._duration_ms(index) for index in range(self._num_frames)])
        times_s = np.concatenate([[0.0], ends_ms[:-1] / 1000])
        end_ms = float(ends_ms[-1])
        return FrameTable(times_s, end_ms / 1000, self._num_frames * 1000 / end_ms, tick_s=0.001)

    def entry(self, index: int) -> int:
        """`index` itself: Pillow finds its own way there."""
        return index

    def walk(self, first: int) -> Iterator[tuple[int, Callable[[], np.ndarray]]]:
        """Frames from `first` on."""
        for index in range(first, self._num_frames):
            yield index, partial(self._picture, index)

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _picture(self, index: int) -> np.ndarray:
        self._seek(index)
        try:
            image: Image.Image = ImageOps.exif_transpose(self._image)
            if image.mode.startswith("I"):
                # Greys of 16 bits: Pillow's own conversion cuts them off at 255.
                image = Image.fromarray((np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.array(image.convert("RGB"))
        except _DAMAGE as error:
            raise self._error(f"frame {index} is of a kind that cannot be shown") from error

    def _duration_ms(self, index: int) -> float:
        self._seek(index)
        duration_ms = float(self._image.info.get("duration") or 0)
        return duration_ms if duration_ms > _TOO_SHORT_MS else _UNTIMED_FRAME_MS

    def _seek(self, index: int) -> None:
        try:
            self._image.seek(index)
            self._image.load()  # a webp knows the frame's duration only now
        except _DAMAGE as error:
            raise self._error(f"frame {index} of {self._num_frames} is damaged or cut off") from error

    def _error(self, cause: str) -> VideoReadError:
        return VideoReadError(self.path, cause, "Get the file again, or save it anew from a picture editor")
