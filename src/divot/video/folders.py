"""Which files of a folder are videos."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from divot.config.errors import DataError

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".webp", ".wmv",
))
# fmt: on


def list_videos(sources: Iterable[str | Path]) -> list[Path]:
    """The files among the sources, and the videos (by suffix) in the folders among them, in order of name.

    What is inside a folder and has a name that begins with a dot is left alone.

    Raises:
        DataError: if a folder holds no video.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        if not source.is_dir():
            paths.append(source)
            continue
        found = [path for path in sorted(source.rglob("*")) if _is_video(path, source)]
        if not found:
            raise DataError(source, "holds no video", f"Known by suffix: {' '.join(sorted(VIDEO_SUFFIXES))}")
        paths += found
    return list(dict.fromkeys(paths))


def _is_video(path: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not is_hidden
