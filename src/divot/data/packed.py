"""Files inside tar files, on disk or at an address of fsspec, read by their place: number n costs the same wherever it
stands."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from divot.config.errors import DataError

# What goes wrong with a tar file: of fsspec also that a protocol is not known, or its package not installed.
TAR_ERRORS = (OSError, tarfile.TarError, ImportError, ValueError)
# Of what is fetched from afar at once: a header and little more.
_BLOCK_BYTES = 2**16


@dataclass(frozen=True)
class PackedFile:
    """Where a file is in a tar file."""

    name: str
    offset: int
    size_bytes: int
    tar: str = ""
    """Path or address of the tar file, for those that a `Path` cannot be; empty where it goes along."""


def list_packed(tar_file: str | Path) -> list[PackedFile]:
    """The files in a tar file, in their order.

    Raises:
        DataError: if it is missing or damaged.
    """
    try:
        with _opened(tar_file) as file, tarfile.open(fileobj=file) as tar:
            return [
                PackedFile(member.name, member.offset_data, member.size) for member in tar if member.isfile()
            ]
    except TAR_ERRORS as error:
        raise damaged(tar_file, error) from error


def _opened(tar_file: str | Path) -> Any:
    if "://" not in str(tar_file):
        return open(tar_file, "rb")
    files, path = fsspec.core.url_to_fs(str(tar_file))
    return files.open(path, "rb", block_size=_BLOCK_BYTES)


def packed_content(tar_file: str | Path, packed: PackedFile) -> bytes:
    """What a file in a tar file holds.

    Raises:
        DataError: if the tar file is missing or cut short.
    """
    try:
        with _opened(tar_file) as file:
            file.seek(packed.offset)
            content: bytes = file.read(packed.size_bytes)
    except TAR_ERRORS as error:
        raise damaged(tar_file, error) from error
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
        file.write_bytes(packed_content(packed.tar or path, packed))
        yield file


def damaged(tar_file: str | Path, cause: str | Exception) -> DataError:
    """The error of a tar file that is not what it should be, or cannot be reached."""
    if isinstance(cause, ImportError):
        return DataError(tar_file, f"cannot be reached ({cause})", "Install that package")
    return DataError(tar_file, f"is missing or damaged ({cause})", "Copy it again, or make it anew")
