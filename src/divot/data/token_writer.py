"""Writing a token store: clip by clip, in constant memory, to be taken up again after any stop.

What is promised: a shard and a line are there as a whole or not at all. A process that is killed loses at
most the clips since its last whole shard, and the store that a second run completes is, byte for byte, that
of an unbroken run. Two processes cannot write to one store: the second is refused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from divot.config.errors import DataError
from divot.config.files import Lock, write_json, written_whole
from divot.data.tokens import (
    DTYPES,
    LOCK_FILE,
    MANIFEST_FILE,
    SHARDS_FOLDER,
    VIDEOS_FILE,
    Manifest,
    Shard,
    StoredVideo,
    read_manifest,
    read_videos,
)
from divot.video.clips import Clip

BEGUN_PREFIX = ".begun."
"""Of a folder in which processes that make shards note what they have begun."""


class TokenStoreWriter:
    """A token store, open for writing; use it in a `with` block.

    Args:
        folder: made if it is not there; an existing store is continued.
        manifest: what the tokens will be; an existing store must agree in all but `model` and
            `clips_per_shard`.

    Raises:
        DataError: if the folder is something else, holds tokens of another kind, or another process writes
            to it.
    """

    def __init__(self, folder: str | Path, manifest: Manifest) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST_FILE
        if not path.is_file():
            _check_unused(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder / LOCK_FILE)
        try:
            # Looked at only now: another process may have begun the store in the meantime.
            if not path.is_file():
                write_json(path, asdict(manifest))
            self.manifest = read_manifest(self.folder)
            _check_agreement(self.folder, self.manifest, manifest)
            self.remove_leftovers()
            videos, num_bytes = read_videos(self.folder)
        except BaseException:
            self._lock.close()
            raise
        self._videos = {video.name: video for video in videos}
        self._lines = _opened_to_append(self.folder / VIDEOS_FILE)
        # A line that a killed process left half written goes.
        self._lines.truncate(num_bytes)

    def __enter__(self) -> TokenStoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store. What is not finished stays to be continued."""
        self._lines.close()
        self._lock.close()

    def start(self, path: str | Path, name: str | None = None) -> VideoEntry | None:
        """Begin or continue a video.

        Args:
            path: the video file; it is read once to be hashed.
            name: its name in the store; None takes the path as given.

        Returns:
            The entry to add clips to, or None if the store has this file's tokens already.

        Raises:
            DataError: if the file cannot be read.
        """
        name = Path(path).as_posix() if name is None else name
        sha256, size_bytes = hash_file(path)
        finished = self._videos.get(name)
        if finished is not None:
            if is_stored(self.folder, finished, sha256):
                return None
            self.forget(name)
        return VideoEntry(self.folder, self.manifest, name, sha256, size_bytes, self.append)

    def finished(self, name: str) -> StoredVideo | None:
        """The video of that name, if it has a line."""
        return self._videos.get(name)

    def append(self, video: StoredVideo) -> None:
        """Write the line of a video whose shards are there."""
        self._lines.write(_line(video))
        self._videos[video.name] = video

    def forget(self, name: str) -> None:
        """Remove a video's line, then its shards."""
        video = self._videos.pop(name)
        self._write_lines()
        _remove(self.folder / shard.file for shard in video.shards)

    def sort(self, names: Iterable[str]) -> None:
        """Put the lines of the videos of these names into their order, after the others."""
        last = {name: self._videos[name] for name in names if name in self._videos}
        others = {name: video for name, video in self._videos.items() if name not in last}
        if list(self._videos) != [*others, *last]:
            self._videos = others | last
            self._write_lines()

    def _write_lines(self) -> None:
        self._lines.close()
        path = self.folder / VIDEOS_FILE
        with written_whole(path) as beside:
            beside.write_bytes(b"".join(_line(video) for video in self._videos.values()))
        self._lines = _opened_to_append(path)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written; no other may be at work on the store."""
        for pattern in (".manifest.*.json", ".videos.*.jsonl", f"{SHARDS_FOLDER}/*/.*.safetensors"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        for path in self.folder.glob(f"{BEGUN_PREFIX}*"):
            shutil.rmtree(path)


class VideoEntry:
    """The shards of one video, being written; `TokenStoreWriter.start` makes it, or another process by itself.

    Args:
        folder: the store.
        manifest: the store's.
        name: of the video in the store.
        sha256: of the video file's content.
        size_bytes: of the video file.
        on_finish: called with the video when all its shards are there.

    Attributes:
        num_done: clips that are safe already; add the one after them first.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        name: str,
        sha256: str,
        size_bytes: int,
        on_finish: Callable[[StoredVideo], None] | None = None,
    ) -> None:
        self.name = name
        self._folder, self._manifest, self._on_finish = folder, manifest, on_finish
        self._sha256, self._size_bytes = sha256, size_bytes
        try:
            self._key = hashlib.sha256(name.encode()).hexdigest()[:16]
        except UnicodeEncodeError as error:
            raise DataError(ascii(name), "has a name that is not UTF-8", "Rename the file") from error
        self._clips: list[Clip] = []
        self._shards: list[Shard] = []
        self._waiting: list[Tensor] = []
        self._take_up()
        self.num_done = len(self._clips)

    def add(self, clip: Clip, tokens_ND: Tensor) -> None:
        """Add the next clip.

        Raises:
            ValueError: if it is not the next one, or its tokens are not of the store's shape and type.
        """
        manifest = self._manifest
        if clip.index != len(self._clips):
            raise ValueError(f"clip: got number {clip.index}, wanted {len(self._clips)}")
        wanted = (manifest.num_tokens, manifest.token_width)
        if tuple(tokens_ND.shape) != wanted or tokens_ND.dtype != DTYPES[manifest.dtype]:
            got = f"{tokens_ND.dtype} {list(tokens_ND.shape)}"
            raise ValueError(f"tokens: got {got}, wanted {manifest.dtype} {list(wanted)}")
        self._clips.append(clip)
        self._waiting.append(tokens_ND.detach().cpu())
        if len(self._waiting) == manifest.clips_per_shard:
            self._write_shard()

    def finish(self) -> StoredVideo:
        """Write what is left."""
        if self._waiting:
            self._write_shard()
        clips, shards = tuple(self._clips), tuple(self._shards)
        video = StoredVideo(self.name, self._sha256, self._size_bytes, clips, shards)
        if self._on_finish is not None:
            self._on_finish(video)
        return video

    def discard(self) -> None:
        """Remove what was written of this video."""
        _remove(self._folder / shard.file for shard in self._shards)
        self._clips, self._shards, self._waiting = [], [], []

    def _take_up(self) -> None:
        """Find the whole shards that a stopped run left of the same file; remove the video's others."""
        # Asked for by name: a folder of a large store is long to list.
        there = list(takewhile(Path.is_file, (self._folder / self._file(index) for index in count())))
        for path in there:
            times = self._times_in(path)
            # A short shard is the last one of its video: cheap to make again, and then nothing is special.
            if times is None or len(times) != self._manifest.clips_per_shard:
                break
            first = len(self._clips)
            self._clips += [Clip(first + i, start_s, length_s) for i, (start_s, length_s) in enumerate(times)]
            self._shards.append(Shard(path.relative_to(self._folder).as_posix(), len(times)))
        _remove(there[len(self._shards) :])

    def _times_in(self, path: Path) -> list[list[float]] | None:
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("divot") != self._label(len(self._clips)):
                    return None
                times: list[list[float]] = file.get_tensor("times_s").tolist()
                return times
        except (SafetensorError, OSError):
            return None

    def _write_shard(self) -> None:
        rows = len(self._waiting)
        first = len(self._clips) - rows
        times = [[clip.start_s, clip.duration_s] for clip in self._clips[first:]]
        file = self._file(len(self._shards))
        tensors = {"tokens": torch.stack(self._waiting), "times_s": torch.tensor(times, dtype=torch.float64)}
        with written_whole(self._folder / file) as beside:
            # One metadata key only: safetensors writes several in an order of its own.
            save_file(tensors, beside, metadata={"divot": self._label(first)})
        self._shards.append(Shard(file, rows))
        self._waiting = []

    def _file(self, index: int) -> str:
        return f"{SHARDS_FOLDER}/{self._key[:2]}/{self._key}-{index:05d}.safetensors"

    def _label(self, first_clip: int) -> str:
        return json.dumps(
            {
                "video": self.name,
                "sha256": self._sha256,
                "first_clip": first_clip,
                "tokenizer_hash": self._manifest.tokenizer_hash,
            }
        )


def is_stored(folder: Path, video: StoredVideo, sha256: str) -> bool:
    """Whether a store has all shards of a video, and they are of a file with that content."""
    return video.sha256 == sha256 and all((folder / shard.file).is_file() for shard in video.shards)


def hash_file(path: str | Path) -> tuple[str, int]:
    """sha256 (hex) of a file's content, and its size in bytes.

    Raises:
        DataError: if it cannot be read.
    """
    digest, size_bytes = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size_bytes += len(block)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    return digest.hexdigest(), size_bytes


def _line(video: StoredVideo) -> bytes:
    return (json.dumps(video.to_dict(), ensure_ascii=False) + "\n").encode()


def _remove(shards: Iterable[Path]) -> None:
    # The last one first: what a kill leaves is the beginning of the row, and the next run finds it.
    for path in reversed(list(shards)):
        path.unlink(missing_ok=True)


def _check_unused(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DataError(folder, "is a file, a token store is a folder", "Give the name of a folder")
    if folder.is_dir() and any(not p.name.startswith((".manifest.", LOCK_FILE)) for p in folder.iterdir()):
        raise DataError(folder, "holds other files and is no token store", "Give a new or empty folder")


def _check_agreement(folder: Path, there: Manifest, wanted: Manifest) -> None:
    if there.tokenizer_hash != wanted.tokenizer_hash:
        raise DataError(
            folder,
            f"holds tokens of tokenizer {there.tokenizer_hash} ({there.model}), "
            f"not of {wanted.tokenizer_hash} ({wanted.model})",
            "Give another folder for the tokens of this model",
        )
    for name in ("dtype", "num_tokens", "token_width", "settings"):
        old, new = getattr(there, name), getattr(wanted, name)
        if old != new:
            raise DataError(
                folder, f"was made with {name} {old}, not {new}", "Give another folder, or the same options"
            )


def _opened_to_append(path: Path) -> Any:
    # Not buffered: a line is in the file when it is written.
    return open(path, "ab", buffering=0)
