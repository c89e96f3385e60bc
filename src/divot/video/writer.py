"""Frames to files that people look at: mp4, gif and webp, each whole or not there at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from divot.config.files import written_whole

SUFFIXES = (".mp4", ".gif", ".webp")
# So many of them, evenly spread, settle the colours of a gif.
_PALETTE_FRAMES = 64


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    rate_fps: float,
    *,
    crf: int = 18,
    quality: int = 85,
    scale: int = 1,
) -> int:
    """Write frames as mp4 (h264, yuv420p), gif or webp, by the name's suffix.

    Args:
        path: where to; its folder is made if need be.
        frames: uint8 [T, H, W, 3], or the parts of a video one after another, each such an array: of an mp4 no more
            than one of them is in memory.
        rate_fps: frames a second. A gif holds hundredths of a second: its frames differ by one, their sum is
            right.
        crf: for mp4, 0 (lossless but for the colours) to 51 (worst).
        quality: for webp, 0 to 100.
        scale: whole factor by which small pictures are enlarged, pixels staying sharp.

    Returns:
        Number of frames.

    Raises:
        ValueError: if the suffix is another, the frames have another shape or a number is out of range.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path: got suffix {path.suffix!r} in {path}, wanted one of {', '.join(SUFFIXES)}")
    if not 0 < rate_fps <= 1000:
        raise ValueError(f"rate_fps: got {rate_fps}, wanted more than 0 and at most 1000")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf: got {crf}, wanted 0 to 51")
    if isinstance(frames, np.ndarray):
        # Looked at before a folder is made.
        frames = [enlarged(frames, scale)]
        scale = 1
    parts = _of_one_size(enlarged(part, scale) for part in frames)
    with written_whole(path) as beside:
        if suffix == ".mp4":
            return _write_mp4(beside, parts, rate_fps, crf)
        return _write_pictures(beside, np.concatenate(list(parts)), rate_fps, quality)


def enlarged(frames: np.ndarray, scale: int) -> np.ndarray:
    """Frames with each pixel made `scale` x `scale` pixels, uint8 [T, H, W, 3].

    Raises:
        ValueError: if `frames` is not uint8 [T, H, W, 3] with T, H, W above 0, or `scale` is below 1.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: got {frames.dtype} {list(frames.shape)}, wanted uint8 [T, H, W, 3]")
    if scale < 1:
        raise ValueError(f"scale: got {scale}, wanted 1 or more")
    return frames if scale == 1 else frames.repeat(scale, axis=1).repeat(scale, axis=2)


def _of_one_size(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The parts, one or more, as they come."""
    size: tuple[int, ...] | None = None
    for part in parts:
        size = size or part.shape[1:]
        if part.shape[1:] != size:
            raise ValueError(f"frames: got a part of {list(part.shape[1:])}, wanted {list(size)}")
        yield part
    if size is None:
        raise ValueError("frames: got none, wanted one or more")


def _write_mp4(path: Path, parts: Iterator[np.ndarray], rate_fps: float, crf: int) -> int:
    import av
    import av.video

    first = next(parts)
    height, width = first.shape[1:3]
    num_frames = 0
    # FFmpeg takes what stands before a colon for a protocol, but not in a path that begins at the root.
    with av.open(str(path.absolute()), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(rate_fps).limit_denominator(1001))
        assert isinstance(stream, av.VideoStream)
        # Colours are stored for 2 x 2 pixels: an odd side gets its last row or column twice.
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "medium"}
        for frame in chain.from_iterable(chain([first], parts)):
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            num_frames += 1
        container.mux(stream.encode())
    return num_frames


def _write_pictures(path: Path, frames: np.ndarray, rate_fps: float, quality: int) -> int:
    is_gif = path.suffix.lower() == ".gif"
    step_ms = 10 if is_gif else 1
    # Rounding the moments, not the durations, keeps the whole as long as it should be.
    moments = np.round(np.arange(len(frames) + 1) * 1000 / rate_fps / step_ms).astype(int) * step_ms
    durations = [max(step_ms, int(ms)) for ms in np.diff(moments)]
    first, *rest = _in_one_palette(frames) if is_gif else map(Image.fromarray, frames)
    # Pillow's gif writer does not look at `quality`.
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0, quality=quality)
    return len(frames)


def _in_one_palette(frames: np.ndarray) -> list[Image.Image]:
    """Frames in 256 colours that all of them share, without dither: what stands still stays the same from one to the
    next, and a file is about half as large as with a palette for each."""
    spread = frames[:: -(-len(frames) // _PALETTE_FRAMES)]
    palette = Image.fromarray(np.concatenate(spread)).quantize(256)
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
