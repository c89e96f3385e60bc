"""Small videos made for the tests: every frame shows its own number in black and white bars."""

from __future__ import annotations

import io
import struct
from collections.abc import Container, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

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
    pixel_aspect: Fraction | None = None,
    sound: bool = False,
    sound_codec: str = "aac",
    dropped: Container[int] = (),
) -> Path:
    """Encode frames 0, 1, 2, ...; with `times_ms` frame i is shown at that time, a dropped one is not there."""
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
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        if sound:
            _add_sound(container, seconds=num_frames / rate_fps + 0.5, codec=sound_codec)
        for number in range(num_frames):
            if number in dropped:
                continue
            frame = av.VideoFrame.from_ndarray(frame_showing(number, *size), format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            elif dropped:
                frame.pts, frame.time_base = number, Fraction(1, rate_fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_sound(path: Path, seconds: float = 1.0, has_cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        if has_cover:
            cover = container.add_stream("mjpeg", rate=1)
            cover.height, cover.width, cover.pix_fmt = 48, 64, "yuvj420p"
            cover.disposition = Disposition.attached_pic
        _add_sound(container, seconds)
        if has_cover:
            container.mux(cover.encode(av.VideoFrame.from_ndarray(frame_showing(9), format="rgb24")))
            container.mux(cover.encode())
    return path


def make_tiled_photo(path: Path, has_preview: bool = False) -> Path:
    """A heic as phones write it: a grid of 2 x 2 tiles, each a picture of its own; first, perhaps, a preview."""
    tile, decoder = _hevc_still()
    grid = struct.pack(">4B2H", 0, 0, 1, 1, 256, 256)
    kinds = [b"hvc1"] * has_preview + [b"hvc1"] * 4 + [b"grid"]
    data = [tile] * (len(kinds) - 1) + [grid]
    tiles = range(1 + has_preview, 5 + has_preview)

    def head(start: int) -> bytes:
        names = [
            _box(b"infe", struct.pack(">I2H", 2 << 24, i, 0), kind, b"\0") for i, kind in enumerate(kinds, 1)
        ]
        sizes = [_box(b"ispe", struct.pack(">3I", 0, side, side)) for side in (128, 256)]
        uses = [struct.pack(">H3B", i, 2, 0x81, 2) for i in range(1, len(kinds))]
        uses.append(struct.pack(">H2B", len(kinds), 1, 3))
        links = [_box(b"dimg", struct.pack(">2H4H", len(kinds), 4, *tiles))]
        if has_preview:
            links.append(_box(b"thmb", struct.pack(">3H", 1, 1, len(kinds))))
        places = []
        for i, part in enumerate(data, 1):
            places.append(struct.pack(">3H2I", i, 0, 1, start, len(part)))
            start += len(part)
        return _box(b"ftyp", b"heic", bytes(4), b"mif1heic") + _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", struct.pack(">IH", 0, len(kinds))),
            _box(b"iloc", struct.pack(">I2BH", 0, 0x44, 0, len(data)), *places),
            _box(b"iinf", struct.pack(">IH", 0, len(kinds)), *names),
            _box(b"iref", bytes(4), *links),
            _box(
                b"iprp",
                _box(b"ipco", decoder, *sizes),
                _box(b"ipma", struct.pack(">2I", 0, len(kinds)), *uses),
            ),
        )

    path.write_bytes(head(len(head(0)) + 8) + _box(b"mdat", *data))
    return path


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _hevc_still() -> tuple[bytes, bytes]:
    """A picture of 128 x 128 pixels, and the box of an mp4 that says how to decode it."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=1)
        stream.height, stream.width, stream.pix_fmt = 128, 128, "yuv420p"
        stream.options = {"x265-params": "log-level=none", "preset": "ultrafast"}
        frame = av.VideoFrame.from_ndarray(frame_showing(9, 128, 128), format="rgb24")
        for packet in (*stream.encode(frame), *stream.encode()):
            packet.pts = packet.dts = 0  # x265 leaves those of a single frame to chance
            container.mux(packet)
    data = file.getvalue()
    start = data.index(b"hvcC") - 4
    (size,) = struct.unpack(">I", data[start : start + 4])
    with av.open(io.BytesIO(data)) as container:
        return bytes(next(container.demux(video=0))), data[start : start + size]


def _add_sound(container, seconds: float, codec: str = "aac") -> None:
    stream = container.add_stream(codec, rate=16000, layout="mono")
    frame = av.AudioFrame.from_ndarray(np.zeros((1, int(16000 * seconds)), np.float32), "fltp", "mono")
    frame.sample_rate = 16000
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.codec_context.format.name, "mono", 16000, frame_size=size)
    for piece in resampler.resample(frame):
        container.mux(stream.encode(piece))
    container.mux(stream.encode())
