"""The clips that are measured: of Sprite World, or of all videos in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from divot import world
from divot.config.errors import DataError, VideoReadError
from divot.pipelines.clips import whole_clips
from divot.video import Fit, VideoReader, to_uint8


@dataclass(frozen=True)
class NamedClip:
    """A clip and what to call it.

    Attributes:
        name: unique in its set.
        frames: uint8 [16, S, S, 3], in the model's frame size.
        scene: what a clip of Sprite World shows.
    """

    name: str
    frames: np.ndarray
    scene: world.Scene | None = None


def world_clips(seed: int, count: int, split: str = "test", size_px: int = 64) -> Iterator[NamedClip]:
    """Clips 0 to `count` - 1 of a seed's Sprite World; no clip of the test split is ever trained on.

    Raises:
        ValueError: if `count` is below 1, or the world refuses seed, split or size.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, wanted 1 or more")
    for index in range(count):
        clip = world.clip(seed, index, split=split, size=size_px)
        yield NamedClip(f"{split} {seed}/{index}", clip.frames, clip.scene)


@dataclass
class VideoClips:
    """What was read of a folder of videos.

    Attributes:
        clips: all clips, video after video.
        num_clips: name of each video -> clips read of it.
        partial: names of the clips whose video ends inside them; its last frame is held from there on.
        rejected: name of each file that is no video, or could not be read to its end -> why.
    """

    clips: list[NamedClip] = field(default_factory=list)
    num_clips: dict[str, int] = field(default_factory=dict)
    partial: list[str] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)


def video_clips(
    folder: str | Path,
    *,
    size_px: int,
    fit: Fit = "crop",
    max_clips_per_video: int | None = None,
) -> VideoClips:
    """Read the consecutive 2-second clips of every file in a folder and the folders in it, in order of name.

    Files and folders whose names begin with a dot are left alone. Of a file that breaks off, the clips before
    the break are kept and the file is among the rejected; a picture of one frame is no video.

    Args:
        folder: where the videos are.
        size_px: side of the square, S of `NamedClip`.
        fit: how the picture is made square, see `divot.video.SquareFit`.
        max_clips_per_video: takes the first so many of each; None takes all.

    Raises:
        ValueError: if `max_clips_per_video` is below 1.
        DataError: if there is no such folder, or not one clip in it can be read.
    """
    folder = Path(folder)
    if max_clips_per_video is not None and max_clips_per_video < 1:
        raise ValueError(f"max_clips_per_video: got {max_clips_per_video}, wanted 1 or more")
    if not folder.is_dir():
        raise DataError(folder, "is not a folder", "Give a folder of video files")
    found = VideoClips()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        _read_video(path, inside.as_posix(), found, size_px, fit, max_clips_per_video)
    if not found.clips:
        reasons = "; ".join(f"{name}: {cause}" for name, cause in found.rejected.items()) or "it is empty"
        raise DataError(
            folder, f"holds no video that can be read ({reasons})", "Give a folder of video files"
        )
    return found


def _read_video(
    path: Path, name: str, found: VideoClips, size_px: int, fit: Fit, max_clips: int | None
) -> None:
    try:
        with VideoReader(path) as reader:
            if reader.num_frames == 1:
                found.rejected[name] = "is a still picture"
                return
        for place, frames in islice(whole_clips(path, size_px, fit), max_clips):
            clip_name = f"{name} {place.start_s:g} s"
            found.clips.append(NamedClip(clip_name, to_uint8(frames)))
            found.num_clips[name] = found.num_clips.get(name, 0) + 1
            if not place.is_whole:
                found.partial.append(clip_name)
    except VideoReadError as error:
        found.rejected[name] = error.cause
