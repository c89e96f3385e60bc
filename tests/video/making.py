"""Small videos made for the tests: every frame shows its own number in black and white bars."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_BITS = 8


def frame_showing(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A grey frame whose left half tells `number` in eight bars; it survives lossy codecs."""
    frame = np.full((height, width, 3), 96, np.uint8)
    bar = height // NUM_BITS
    for bit in range(NUM_BITS):
        frame[bit * bar : (bit + 1) * bar, : width // 2] = 235 if number >> bit & 1 else 16
    return frame


def number_shown(frame: np.ndarray) -> int:
    """The number that `frame_showing` wrote."""
    bar = (frame.shape[0] // NUM_BITS * NUM_BITS) // NUM_BITS
    column = frame[:, 2 : frame.shape[1] // 2 - 2].mean(axis=(1, 2))
    return sum(int(column[bit * bar + bar // 2] > 128) << bit for bit in range(NUM_BITS))


def numbers_shown(frames: np.ndarray) -> list[int]:
    return [number_shown(frame) for frame in frames]


def make_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 40,
    rate_fps: int = 10,
    size: tuple[int, int] = (48, 64),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    rotation: tuple[float, bool] | None = None,
    sound: bool = False,
) -> Path:
    """Encode frames 0, 1, 2, ...; with `times_ms` frame i is shown at that time."""
    defaults = {
        "libx264": {"g": "12", "bf": "3", "preset": "ultrafast", "x264-params": "scenecut=0:b-adapt=0"},
        "libx265": {"x265-params": "keyint=12:min-keyint=12:bframes=3:log-level=none", "preset": "ultrafast"},
        "libvpx-vp9": {"g": "12", "deadline": "realtime", "cpu-used": "8"},
        "libsvtav1": {"g": "12", "preset": "12"},
        "mpeg4": {"g": "12", "bf": "2", "b": "1000k"},
    }
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate_fps)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.options = defaults.get(codec, {}) | (options or {})
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        if sound:
            _add_sound(container, seconds=num_frames / rate_fps + 0.5)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(frame_showing(number, *size), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_sound(path: Path, seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as container:
        _add_sound(container, seconds)
    return path


def _add_sound(container, seconds: float) -> None:
    stream = container.add_stream("aac", rate=16000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, int(16000 * seconds)), np.float32), "fltp", "mono")
    frame.sample_rate = 16000
    resampler = av.AudioResampler("fltp", "mono", 16000, frame_size=1024)
    for piece in resampler.resample(frame):
        container.mux(stream.encode(piece))
    container.mux(stream.encode())
