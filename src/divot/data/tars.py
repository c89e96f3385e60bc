"""Webdataset tar files as others make them, on disk or wherever fsspec reads: s3://, gs://, https:// and more.

    train-000000.tar        0001.mp4, 0001.txt, 0002.jpg, 0002.json, ...

Files whose names are the same up to the first dot are one sample: a video or a picture beside its words. Where each
file is in its tar file is found out once and kept, so that sample number n costs the same wherever it stands, and
nothing but that sample is fetched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from divot.config.errors import DataError, VideoReadError
from divot.config.files import write_json
from divot.data.annotations import Annotation, NoWordsError, parse_sample
from divot.data.packed import TAR_ERRORS, PackedFile, damaged, list_packed, packed_content
from divot.data.records import Record, read_record
from divot.data.shards import INDEX_FILE
from divot.video.folders import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_WORDS = (".json", ".txt")
_THREADS = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _TarSample:
    """Files of one name in a tar file."""

    tar: str
    files: dict[str, PackedFile]
    """Suffix in small letters -> file; the first of those that have it."""


def is_tars(told: str | Path) -> bool:
    """Whether annotations are tar files: one, several as `{000..099}` or `*`, or a folder of them without an index."""
    return str(told).endswith(".tar") or _is_folder_of_tars(Path(told))


def _is_folder_of_tars(path: Path) -> bool:
    return path.is_dir() and not (path / INDEX_FILE).is_file() and any(path.glob("*.tar"))


class TarSource:
    """Samples of tar files by number, a `RecordSource`.

    The words of a sample are its .json, with the fields of our own annotations (those of img2dataset's files are among
    them), or else its .txt as a caption. A sample without a video or picture, or without words, counts as one that
    cannot be read.

    Args:
        told: as of `is_tars`.

    Raises:
        DataError: if a tar file cannot be read, or there is no sample in them.
    """

    def __init__(self, told: str | Path) -> None:
        tars = _addresses(told)
        with ThreadPoolExecutor(_THREADS) as threads:
            self._samples = list(threads.map(_samples, tars))
        self._ends = list(accumulate(map(len, self._samples)))
        if not self._ends or not self._ends[-1]:
            raise DataError(str(told), "holds no sample", "Give tar files in the form of webdataset")
        self._last: tuple[int, Annotation] | None = None

    def __len__(self) -> int:
        return self._ends[-1]

    def annotation(self, number: int) -> Annotation:
        """See `RecordSource`; the last one is kept, as its words may come from afar."""
        if self._last is None or self._last[0] != number:
            try:
                self._last = number, self.words(number)
            except DataError as error:
                raise VideoReadError(error.source, error.cause, error.remedy) from error
        return self._last[1]

    def words(self, number: int) -> Annotation:
        """What is said about sample `number`, with what is wrong with it told apart, as a check wants it.

        Raises:
            DataError: if the sample has no video or picture, or no words, or cannot be read.
        """
        tar = bisect_right(self._ends, number)
        sample = self._samples[tar][number - self._ends[tar]]
        pictures = [
            found for suffix, found in sample.files.items() if suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES
        ]
        if not pictures:
            [first, *_] = sample.files.values()
            cause = "has neither a video nor a picture beside it"
            raise DataError(f"{sample.tar}:{first.name}", cause, "Pack each file with its words")
        return _annotation(sample, pictures[0])

    def record(self, number: int, size_px: int, max_clips: int, at: float = 0.0) -> Record:
        """See `RecordSource`."""
        return read_record(self.annotation(number), size_px, max_clips, at)


def _annotation(sample: _TarSample, pictures: PackedFile) -> Annotation:
    where = f"{sample.tar}:{pictures.name}"
    words = {
        suffix: packed_content(sample.tar, sample.files[suffix]).decode(errors="replace")
        for suffix in _WORDS
        if suffix in sample.files
    }
    if not words:
        raise NoWordsError(
            where, "has no words beside it", "Put a .txt or .json of the same name into the tar"
        )
    values: Any = {}
    if ".json" in words:
        try:
            values = json.loads(words[".json"])
        except json.JSONDecodeError as error:
            raise DataError(where, "has a .json that is none", "Pack it again") from error
        if not isinstance(values, dict):
            raise DataError(where, "has a .json that is no object", "Write fields, such as caption")
    kind = "image" if Path(pictures.name).suffix.lower() in PICTURE_SUFFIXES else "video"
    # The last two are of a form that lines of a file have, not samples of a tar file.
    others = ("image", "video", "answers", "data")
    values = {name: value for name, value in values.items() if name not in others}
    try:
        found = parse_sample({**values, kind: pictures.name}, where, Path())
    except NoWordsError:
        caption = words.get(".txt", "").strip()
        if not caption:
            raise
        found = parse_sample({"caption": caption, kind: pictures.name}, where, Path())
    return replace(found, path=Path(sample.tar), packed=pictures)


def _addresses(told: str | Path) -> list[str]:
    """Of each tar file, in order of name."""
    if _is_folder_of_tars(Path(told)):
        return [str(path) for path in sorted(Path(told).glob("*.tar"))]
    patterns = [str(told)]
    if "{" in str(told):
        from braceexpand import braceexpand

        patterns = list(braceexpand(str(told)))
    try:
        return [
            address
            for pattern in patterns
            for address in ([pattern] if "*" not in pattern else _matching(pattern))
        ]
    except TAR_ERRORS as error:
        raise damaged(str(told), error) from error


def _matching(pattern: str) -> list[str]:
    files, path = fsspec.core.url_to_fs(pattern)
    return sorted(files.unstrip_protocol(found) if "://" in pattern else found for found in files.glob(path))


def _samples(tar: str) -> list[_TarSample]:
    """Those of one tar file, in its order."""
    found: dict[str, dict[str, PackedFile]] = {}
    for packed in _members(tar):
        path = PurePosixPath(packed.name)
        stem, dot, rest = path.name.partition(".")
        if not stem or not dot:
            # Neither what tools leave there nor a file without a kind belongs to a sample.
            continue
        suffix = "." + rest.lower().rpartition(".")[2]
        found.setdefault(str(path.with_name(stem)), {}).setdefault(suffix, packed)
    return [_TarSample(tar, files) for files in found.values()]


def _members(tar: str) -> list[PackedFile]:
    """The files of one tar file, kept for the next time: going through it takes a request a file."""
    try:
        files, path = fsspec.core.url_to_fs(tar)
        # Of this file as it is now: its size and times, or its tag. Of an address, `ukey` knows neither.
        told = files.info(path)
        now = [told.get(name) for name in ("size", "ETag", "Last-Modified", "mtime")]
        key = hashlib.sha256(f"{tar} {files.ukey(path)} {now}".encode()).hexdigest()
    except TAR_ERRORS as error:
        raise damaged(tar, error) from error
    kept = _cache() / f"{key}.json"
    try:
        return [PackedFile(**values) for values in json.loads(kept.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        pass
    found = [replace(one, tar=tar) for one in list_packed(tar)]
    try:
        write_json(kept, [asdict(one) for one in found])
    except OSError as error:
        log.warning("%s: where its files are is not kept for the next time (%s)", tar, error)
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "divot" / "tars"
