"""Annotated samples in webdataset shards: tar files in which each video or picture stands beside its words.

    shards/
      index.json        what they are made of, and how many samples each has; grows with every shard
      000000.tar        000000000.mp4, 000000000.json, 000000001.png, 000000001.json, ...

A shard is there as a whole or not at all, and the same annotations give the same bytes. `ShardSource` reads a sample by
its place in the tar file, so that sample number n costs the same wherever it stands.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from divot.config.errors import DataError
from divot.config.files import write_json, written_whole
from divot.data.annotations import Annotation, annotation_values, parse_annotation
from divot.data.datasets import split_name, usable_lines
from divot.data.packed import PackedFile, damaged, list_packed, on_disk, packed_content
from divot.data.records import Record, read_record
from divot.data.token_writer import hash_file

INDEX_FILE, FORMAT = "index.json", 1
# Suffix of a sample's words in its tar file.
_WORDS = "json"
SAMPLES_PER_SHARD = 1000


@dataclass(frozen=True)
class SampleShard:
    """A tar file with samples in the order of the annotations."""

    file: str
    samples: int
    left_out: dict[str, str]
    """Files that could not be read -> why."""


@dataclass
class ShardIndex:
    """What a folder of shards holds."""

    annotations_sha256: str
    samples_per_shard: int
    """Lines of the annotations to a shard, those that were left out among them."""
    shards: list[SampleShard] = field(default_factory=list)
    format: int = FORMAT

    @property
    def num_samples(self) -> int:
        """Of all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def left_out(self) -> dict[str, str]:
        """Files that could not be read -> why."""
        return {name: cause for shard in self.shards for name, cause in shard.left_out.items()}


def write_shards(
    annotations: str | Path,
    folder: str | Path,
    root: str | Path | None = None,
    samples_per_shard: int = SAMPLES_PER_SHARD,
    on_progress: Callable[[float, int], None] | None = None,
) -> ShardIndex:
    """Write the videos and pictures of an annotations file, with their words, into shards.

    Shards that a stopped run has finished are kept. A file that cannot be read is left out.

    Args:
        annotations: as in `usable_lines`; without stories, whose clips may be of several videos.
        folder: made if it is not there.
        root: folder of the paths in the annotations; None takes the one of the file.
        samples_per_shard: of the last one, fewer.
        on_progress: called with the share that is done and the number of samples.

    Raises:
        DataError: if the annotations cannot be used, or the folder holds something else.
        ValueError: if `samples_per_shard` is below 1.
    """
    if samples_per_shard < 1:
        raise ValueError(f"samples_per_shard: got {samples_per_shard}, wanted 1 or more")
    _, path = split_name(annotations)
    folder = Path(folder)
    root = Path(root) if root is not None else (path if path.is_dir() else path.parent)
    samples = _single_files(annotations, root)
    index = _begun_index(folder, annotations_hash(annotations), samples_per_shard)
    for first in range(len(index.shards) * samples_per_shard, len(samples), samples_per_shard):
        part = samples[first : first + samples_per_shard]
        index.shards.append(_write_shard(folder / f"{len(index.shards):06d}.tar", part, first, root))
        write_json(folder / INDEX_FILE, asdict(index))
        if on_progress is not None:
            on_progress((first + len(part)) / len(samples), index.num_samples)
    return index


def read_index(folder: Path) -> ShardIndex:
    """What a folder of shards holds.

    Raises:
        DataError: if it is none, or of another format.
    """
    path = folder / INDEX_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        shards = [SampleShard(**shard) for shard in values.pop("shards")]
        index = ShardIndex(**values, shards=shards)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        remedy = "Make shards with `divot data shards ANNOTATIONS -o FOLDER`"
        raise DataError(path, f"is not the index of shards ({error})", remedy) from error
    if index.format != FORMAT:
        cause = f"has format {index.format!r}, this version reads {FORMAT}"
        raise DataError(path, cause, "Use the version of divot that wrote it")
    return index


class ShardSource:
    """Samples of shards by number, a `RecordSource`.

    Args:
        folder: of the shards.
        root: folder that the paths in them are said to be under.

    Raises:
        DataError: if it is no folder of shards, or there is no sample in it.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder, self._root = folder, root
        index = read_index(folder)
        if not index.num_samples:
            raise DataError(folder, "holds no sample", "Run `divot data shards` to its end")
        self._shards = index.shards
        self._ends = list(accumulate(shard.samples for shard in index.shards))
        self._members: dict[int, list[PackedFile]] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    def annotation(self, number: int) -> Annotation:
        """See `RecordSource`."""
        path, words, _ = self._place(number)
        return parse_annotation(packed_content(path, words).decode(), f"{path}:{words.name}", self._root)

    def record(self, number: int, size_px: int, max_clips: int, at: float = 0.0) -> Record:
        """See `RecordSource`."""
        return read_record(self.packed(number), size_px, max_clips, at)

    def packed(self, number: int) -> Annotation:
        """The annotation of sample `number`, with the place in the tar file where its video or picture is."""
        path, _, pictures = self._place(number)
        return replace(self.annotation(number), path=path, packed=pictures)

    def _place(self, number: int) -> tuple[Path, PackedFile, PackedFile]:
        """The shard of a sample, and where in it its words and its video or picture are."""
        shard = bisect_right(self._ends, number)
        path = self._folder / self._shards[shard].file
        if shard not in self._members:
            self._members[shard] = _members(path, self._shards[shard].samples)
        row = number - self._ends[shard]
        words, pictures = self._members[shard][2 * row :][:2]
        return path, words, pictures


def _members(path: Path, num_samples: int) -> list[PackedFile]:
    """Words and video or picture of each sample, in turn."""
    found = list_packed(path)
    if len(found) != 2 * num_samples:
        raise damaged(path, f"{len(found)} files instead of {2 * num_samples}")
    return sorted(found, key=lambda member: (member.name.split(".")[0], not member.name.endswith(".json")))


def _single_files(annotations: str | Path, root: Path) -> list[Annotation]:
    samples = []
    for number, found in usable_lines(annotations, root):
        if found.story:
            cause = "is a story, shards hold videos and pictures with words of their own"
            raise DataError(f"{annotations}:{number}", cause, "Keep stories in an annotations file")
        samples.append(found)
    return samples


def annotations_hash(annotations: str | Path) -> str:
    """What annotations are known by: their content, of a folder the names and sizes of its files; and their form."""
    dataset, path = split_name(annotations)
    if not path.is_dir():
        content = hash_file(path)[0]
        if dataset is None:
            return content
    else:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        content = repr([(str(file.relative_to(path)), file.stat().st_size) for file in files])
    return hashlib.sha256(f"{dataset.name if dataset else ''} {content}".encode()).hexdigest()


def _begun_index(folder: Path, annotations_sha256: str, samples_per_shard: int) -> ShardIndex:
    """The index of a folder with the shards that need not be made again."""
    wanted = ShardIndex(annotations_sha256, samples_per_shard)
    if not (folder / INDEX_FILE).is_file():
        if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
            raise DataError(folder, "holds other files and no shards", "Give a new or empty folder")
        write_json(folder / INDEX_FILE, asdict(wanted))
    found = read_index(folder)
    for name in ("annotations_sha256", "samples_per_shard"):
        old, new = getattr(found, name), getattr(wanted, name)
        if old != new:
            raise DataError(folder, f"was made with {name} {old}, not {new}", "Give another folder")
    # What a killed run left half written.
    for path in folder.glob(".*.tar"):
        path.unlink()
    missing = [number for number, shard in enumerate(found.shards) if not (folder / shard.file).is_file()]
    return replace(found, shards=found.shards[: min(missing, default=len(found.shards))])


def _write_shard(path: Path, samples: list[Annotation], first: int, root: Path) -> SampleShard:
    from webdataset import TarWriter

    left_out: dict[str, str] = {}
    count = 0
    # Without times of their own, so that the same samples are the same bytes.
    with (
        written_whole(path) as beside,
        open(beside, "wb") as file,
        TarWriter(file, encoder=False, mtime=0) as tar,
    ):
        for number, sample in enumerate(samples, start=first):
            try:
                with on_disk(sample.path, sample.packed) as one:
                    content, suffix = one.read_bytes(), one.suffix.lower().removeprefix(".")
                if suffix in ("", _WORDS) or suffix.startswith("_"):
                    # What the tar file would take for its own, or not take at all; files are known by their content.
                    suffix = "bin"
            except (OSError, DataError) as error:
                cause = error.cause if isinstance(error, DataError) else f"cannot be read ({error.strerror})"
                left_out[sample.name] = cause
                continue
            words = json.dumps(annotation_values(sample, root), ensure_ascii=False).encode()
            tar.write({"__key__": f"{number:09d}", _WORDS: words, suffix: content})
            count += 1
    return SampleShard(path.name, count, left_out)
