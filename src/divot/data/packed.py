"""Files inside tar files, read by their place: number n costs the same wherever it stands."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from divot.config.errors import DataError


@dataclass(frozen=True)
class PackedFile:
    """Where a file is in a tar file."""

    name: str
    offset: int
    size_bytes: int


def list_packed(tar_file: Path) -> list[PackedFile]:
    """The files in a tar file, in their order.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        with tarfile.open(tar_file) as tar:
            return [
                PackedFile(member.name, member.offset_data, member.size) for member in tar if member.isfile()
            ]
    except (OSError, tarfile.TarError) as error:
        raise damaged(tar_file, str(error)) from error


def packed_content(tar_file: Path, packed: PackedFile) -> bytes:
    """What a file in a tar file holds.

    Raises:
        DataError: if the tar file is missing or cut short.
    """
    try:
        with open(tar_file, "rb") as file:
            file.seek(packed.offset)
            content = file.read(packed.size_bytes)
    except OSError as error:
        raise damaged(tar_file, str(error)) from error
    if len(content) != packed.size_bytes:
        raise damaged(tar_file, f"it ends inside {packed.name}")
    return content


@contextmanager
def on_disk(path: Path, packed: PackedFile | None) -> Iterator[Path]:
    """The file `path`; of one that is packed in it, a copy that lives as long as the block: decoders read files.

    Raises:
        DataError: if the tar file is missing or cut short.
    """
    if packed is None:
        yield path
        return
    with tempfile.TemporaryDirectory() as beside:
        file = Path(beside) / Path(packed.name).name
        file.write_bytes(packed_content(path, packed))
        yield file


def damaged(tar_file: Path, cause: str) -> DataError:
    """The error of a tar file that is not what it should be."""
    return DataError(tar_file, f"is missing or damaged ({cause})", "Copy it again, or make it anew")
