"""Files that are either whole or absent: everything is written beside its place, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from divot.config.errors import DataError


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path of the same suffix beside `path`; rename it there when the block ends well.

    Works for a file or a folder (the block makes it). When the block raises, what it wrote is removed and what
    stood at `path` before stays untouched. An existing folder is replaced as a whole; a kill right between its two
    renames leaves the old one beside, under a hidden name that ends in `.old`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield beside
        if beside.is_dir() and path.is_dir():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(path, old)
            try:
                os.replace(beside, path)
            except BaseException:
                os.replace(old, path)
                raise
            shutil.rmtree(old)
        else:
            os.replace(beside, path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


class Lock:
    """One process's hold on a file or a folder, until it is closed or the process ends.

    Args:
        place: what is held, in a folder that is there; a file is made if it is not.

    Raises:
        DataError: if another process holds it; names the folder.
    """

    def __init__(self, place: Path) -> None:
        self._handle: int | None = None
        try:
            import fcntl
        except ModuleNotFoundError:
            # Windows: two writers at once are not noticed there.
            return
        self._handle = os.open(place, os.O_RDONLY if place.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            folder = place if place.is_dir() else place.parent
            raise DataError(folder, "is being written by another process", "Wait for it to end") from error
        except OSError:
            # A file system without locks: two writers at once are not noticed there either.
            pass
        # A data worker that outlives a killed process does not hold on for it.
        os.register_at_fork(after_in_child=self.close)

    def close(self) -> None:
        """Let go."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def refuse_overwriting(source: str | Path, outputs: Iterable[str | Path]) -> None:
    """Stop before a result is written over what it is made of.

    Raises:
        DataError: if one of the outputs is the source.
    """
    for output in outputs:
        if os.path.exists(output) and os.path.exists(source) and os.path.samefile(source, output):
            raise DataError(
                output, "is what this is made from, and would be overwritten", "Give another output"
            )


def refuse_unwritable(outputs: Iterable[str | Path]) -> None:
    """Stop before hours of work whose result there would be no place for.

    Args:
        outputs: files; folders on the way to them need not be there yet.

    Raises:
        DataError: if one of the outputs cannot be written.
    """
    for output in outputs:
        if os.path.isdir(output):
            raise DataError(output, "is a folder", "Give the name of a file")
        place = next(folder for folder in Path(output).absolute().parents if folder.exists())
        if not place.is_dir():
            raise DataError(output, f"cannot be written, {place} is no folder", "Give another output")
        if not os.access(place, os.W_OK):
            raise DataError(
                output, f"cannot be written, nothing may be added to {place}", "Give another output"
            )


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Names of files need not be UTF-8: what is not becomes an escape, which in JSON stands for the same name.
    """
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> None:
    """Write a line of JSON for each row, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
