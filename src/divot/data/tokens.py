"""The token store: tokens of many videos in one folder. Its form is described in docs/formats.md.

    store/
      .lock                 empty; held by the process that writes
      manifest.json         whose tokens these are and how they were made; written once
      videos.jsonl          one line a finished video, in the order in which they were finished
      shards/<ab>/<key>-00000.safetensors
                            the first `clips_per_shard` clips of a video; the next are in 00001, and so on

token_writer.py writes it and says what is promised of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from divot.config.errors import DataError
from divot.video.clips import Clip

MANIFEST_FILE, VIDEOS_FILE, SHARDS_FOLDER, LOCK_FILE = "manifest.json", "videos.jsonl", "shards", ".lock"
FORMAT = 1
# A minute of video: little is lost when a run is killed, and an hour makes no more than 57 files.
CLIPS_PER_SHARD = 32
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Manifest:
    """What all tokens of a store have in common."""

    tokenizer_hash: str
    """sha256 of the tokenizer that made them."""
    model: str
    """What the user called that model: preset, folder or hub id."""
    dtype: str
    num_tokens: int
    token_width: int
    settings: dict[str, Any] = field(default_factory=dict)
    """What else changes the tokens, such as how frames are made square."""
    clips_per_shard: int = CLIPS_PER_SHARD
    format: int = FORMAT


@dataclass(frozen=True)
class Shard:
    """A file with consecutive clips of one video."""

    file: str
    """Path inside the store."""
    rows: int
    """Clips in it."""


@dataclass(frozen=True)
class StoredVideo:
    """A finished video of a store."""

    name: str
    sha256: str
    """Of the video file's content."""
    size_bytes: int
    clips: tuple[Clip, ...]
    shards: tuple[Shard, ...]

    @property
    def num_clips(self) -> int:
        """Rows of its tokens."""
        return len(self.clips)

    def to_dict(self) -> dict[str, Any]:
        """The line in videos.jsonl."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "clip_times_s": [[clip.start_s, clip.duration_s] for clip in self.clips],
            "shards": [asdict(shard) for shard in self.shards],
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StoredVideo:
        """From a line of videos.jsonl.

        Raises:
            KeyError: if a field is missing.
            TypeError: if a field has another form.
            ValueError: if a field has another form.
        """
        clips = tuple(Clip(i, float(s), float(d)) for i, (s, d) in enumerate(record["clip_times_s"]))
        shards = tuple(Shard(**shard) for shard in record["shards"])
        return cls(record["name"], record["sha256"], int(record["size_bytes"]), clips, shards)


class TokenStore:
    """A token store, open for reading.

    Args:
        folder: the store.

    Raises:
        DataError: if the folder is not a token store of this format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self._videos = {video.name: video for video in read_videos(self.folder)[0]}

    @property
    def videos(self) -> list[StoredVideo]:
        """The finished videos, in the order in which they were finished."""
        return list(self._videos.values())

    def video(self, name: str) -> StoredVideo:
        """The video of that name.

        Raises:
            DataError: if the store has none.
        """
        if name not in self._videos:
            some = ", ".join(list(self._videos)[:8]) + (", ..." if len(self._videos) > 8 else "")
            raise DataError(self.folder, f"holds no video {name!r}", f"It holds: {some or 'none'}")
        return self._videos[name]

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Tokens of the clips `start` to `stop` of a video, [K, N, D]; only those are read from disk.

        Raises:
            DataError: if the store has no such video, or a shard is missing or damaged.
            ValueError: if the range is outside the video.
        """
        video = self.video(name)
        stop = video.num_clips if stop is None else stop
        if not 0 <= start <= stop <= video.num_clips:
            raise ValueError(f"clips: got {start} to {stop}, wanted a range within 0 to {video.num_clips}")
        parts, first = [], 0
        for shard in video.shards:
            low, high = max(start - first, 0), min(stop - first, shard.rows)
            if low < high:
                parts.append(_read_rows(self.folder / shard.file, low, high))
            first += shard.rows
        if parts:
            return torch.cat(parts)
        manifest = self.manifest
        return torch.empty(0, manifest.num_tokens, manifest.token_width, dtype=DTYPES[manifest.dtype])

    def to_dict(self) -> dict[str, Any]:
        """What is in the store, but for the tokens; for JSON."""
        videos = [{"name": v.name, "clips": v.num_clips} for v in self.videos]
        return {"path": str(self.folder), "kind": "token store", **asdict(self.manifest), "videos": videos}

    def lines(self) -> list[str]:
        """What is in the store, in words."""
        about = self.manifest
        num_clips = sum(video.num_clips for video in self.videos)
        lines = [
            f"{self.folder}: token store of {about.model} (tokenizer {about.tokenizer_hash})",
            f"  {len(self.videos)} videos, {num_clips} clips of {about.num_tokens} x {about.token_width}, "
            f"{about.dtype}",
        ]
        return lines + [f"  {video.name}: {video.num_clips} clips" for video in self.videos]


@dataclass(frozen=True)
class TokenFile:
    """Tokens from one safetensors file.

    Attributes:
        tokens: [K, N, D].
        clips: their places in the video, if the file tells.
        tokenizer_hash: whose tokens they are, if the file tells.
    """

    tokens: Tensor
    clips: tuple[Clip, ...] | None = None
    tokenizer_hash: str | None = None


def read_token_file(path: str | Path) -> TokenFile:
    """Read a shard of a store, or any safetensors file with a tensor `tokens` [K, N, D] or [N, D].

    Raises:
        DataError: if it is not such a file.
    """
    remedy = "Give a token store or a safetensors file with a tensor 'tokens' [K, N, D]"
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            tokens = file.get_tensor("tokens") if "tokens" in names else None
            times = file.get_tensor("times_s") if "times_s" in names else None
            label = json.loads((file.metadata() or {}).get("divot", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(path, f"is not a safetensors file ({error})", remedy) from error
    if tokens is None or tokens.ndim not in (2, 3):
        raise DataError(path, "holds no tensor 'tokens' of two or three axes", remedy)
    count = 1 if tokens.ndim == 2 else len(tokens)
    if not isinstance(label, dict) or (times is not None and tuple(times.shape) != (count, 2)):
        raise DataError(path, "has times_s or metadata of another form", remedy)
    clips = None
    if times is not None:
        clips = tuple(Clip(i, start_s, duration_s) for i, (start_s, duration_s) in enumerate(times.tolist()))
    return TokenFile(tokens if tokens.ndim == 3 else tokens[None], clips, label.get("tokenizer_hash"))


def is_token_store(folder: str | Path) -> bool:
    """Whether a folder looks like a token store."""
    return (Path(folder) / MANIFEST_FILE).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store.

    Raises:
        DataError: if there is none, or it is of another form.
    """
    path = folder / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values.get("format")
        manifest = Manifest(**values) if found == FORMAT else None
    except OSError as error:
        cause = "is not a token store" if folder.exists() else "does not exist"
        raise DataError(folder, cause, "Make one with `divot encode VIDEO... -o STORE`") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(
            path, f"is not the manifest of a token store ({error})", "Copy the store again"
        ) from error
    if manifest is None or manifest.dtype not in DTYPES:
        cause = f"has format {found!r}, this version reads {FORMAT}"
        raise DataError(path, cause, "Use the version of divot that wrote it")
    return manifest


def read_videos(folder: Path) -> tuple[list[StoredVideo], int]:
    """The finished videos of a store, and how many bytes of videos.jsonl hold whole lines.

    Raises:
        DataError: if a whole line is of another form.
    """
    path = folder / VIDEOS_FILE
    content = path.read_bytes() if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1]
    videos = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            videos.append(StoredVideo.from_dict(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(path, f"line {number} is damaged ({error})", "Copy the store again") from error
    return videos, len(whole)


def _read_rows(path: Path, low: int, high: int) -> Tensor:
    try:
        with safe_open(path, "pt") as file:
            rows: Tensor = file.get_slice("tokens")[low:high]
            return rows
    except (SafetensorError, OSError) as error:
        raise DataError(
            path, f"is missing or damaged ({error})", "Run `divot encode` on the store again"
        ) from error
