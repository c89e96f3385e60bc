"""Which files of a folder are videos, and which are pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from divot.config.errors import DataError

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".asf", ".avi", ".dv", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".webp", ".wmv",
))
# fmt: on
PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"))


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
        found = _files(source, VIDEO_SUFFIXES)
        if not found:
            raise DataError(source, "holds no video", f"Known by suffix: {' '.join(sorted(VIDEO_SUFFIXES))}")
        paths += found
    return list(dict.fromkeys(paths))


def list_samples(folder: str | Path) -> list[Path]:
    """The videos and pictures (by suffix) in a folder, in order of name; names that begin with a dot are left alone.

    Raises:
        DataError: if it holds none.
    """
    suffixes = VIDEO_SUFFIXES | PICTURE_SUFFIXES
    found = _files(Path(folder), suffixes)
    if not found:
        raise DataError(folder, "holds no video or picture", f"Known by suffix: {' '.join(sorted(suffixes))}")
    return found


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and path.is_file() and not _is_hidden(path.relative_to(folder))
    ]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
