"""Samples on disk looked at before a training meets them: what cannot be used, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from divot.config.errors import DataError, VideoReadError
from divot.config.files import refuse_overwriting, refuse_unwritable, write_json_lines
from divot.data.annotations import Annotation, NoWordsError, StoryClip
from divot.data.datasets import annotation_lines, split_name
from divot.data.packed import on_disk
from divot.data.shards import INDEX_FILE, ShardSource
from divot.data.tars import TarSource, is_tars
from divot.data.token_writer import hash_file
from divot.video import CLIP_DURATION_S, VideoReader
from divot.video.folders import PICTURE_SUFFIXES, list_samples

REASONS = ("unreadable", "too_short", "too_small", "odd_aspect", "empty_caption", "duplicate")
MIN_SIDE_PX = 64
MAX_ASPECT = 3.0
# Matroska rounds times to milliseconds: two seconds of video may be one less.
_ROUNDING_S = 0.001


@dataclass(frozen=True)
class BadSample:
    """A sample that training cannot, or should not, use."""

    file: str
    """The video or picture (in a tar file: TAR:NAME); the annotations where the line itself is wrong."""
    line: int | None
    """Its line in the annotations file; None in a folder."""
    reason: str
    """One of `REASONS`."""
    cause: str


@dataclass
class CheckReport:
    """What was found."""

    source: str
    good: int = 0
    bad: list[BadSample] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The counts."""
        counts = Counter(sample.reason for sample in self.bad)
        by_reason = {reason: counts[reason] for reason in REASONS}
        return {"source": self.source, "good": self.good, "bad": len(self.bad), "bad_by_reason": by_reason}

    def write_rejects(self, file: str | Path) -> None:
        """Write a jsonl file with a line for each bad sample, whole or not at all."""
        write_json_lines(file, map(asdict, self.bad))


def check_samples(
    source: str | Path,
    root: str | Path | None = None,
    min_side_px: int = MIN_SIDE_PX,
    num_workers: int = 1,
    on_progress: Callable[[float, int], None] | None = None,
    outputs: Sequence[Path] = (),
) -> CheckReport:
    """Open every sample of a source and decode its first, middle and last frame.

    A sample has the first reason of these that holds, in this order: its line says nothing, a file cannot be read, is
    shorter than a clip, too small, too long or high, or has the content of a good sample before it. A picture is never
    too short; of a story each clip is looked at.

    Args:
        source: a folder of videos and pictures, a folder of shards, tar files, or annotations as in
            `annotation_lines`.
        root: folder of the paths in an annotations file; None takes the one of the file.
        min_side_px: least length of a picture's shorter side.
        num_workers: threads; decoding runs in all of them at once.
        on_progress: called with the share that is done and the number of samples.
        outputs: files that will be written of what comes out.

    Raises:
        DataError: if the source cannot be read, or holds no sample; if an output is the source or one of its files, or
            cannot be written.
        ValueError: if `num_workers` is below 1.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers: got {num_workers}, wanted 1 or more")
    refuse_unwritable(outputs)
    refuse_overwriting(source if is_tars(source) else split_name(source)[1], outputs)
    samples = _tar_samples(source) if is_tars(source) else _samples(Path(source), root)
    # There may be millions of samples, of which none is a file that is not there.
    standing = [output for output in outputs if output.exists()]
    for sample in samples if standing else ():
        for part in sample.parts:
            refuse_overwriting(part.path, standing)
    report = CheckReport(str(source))
    first_of: dict[str, str] = {}
    workers = ThreadPoolExecutor(num_workers)
    try:
        looks = workers.map(lambda sample: sample.look(min_side_px), samples)
        for number, (sample, (bad, content)) in enumerate(zip(samples, looks, strict=True), start=1):
            if bad is None and content in first_of:
                bad = sample.bad("duplicate", f"it has the same content as {first_of[content]}")
            if bad is None:
                report.good += 1
                first_of[content] = sample.name
            else:
                report.bad.append(bad)
            if on_progress is not None:
                on_progress(number / len(samples), number)
    finally:
        workers.shutdown(cancel_futures=True)
    return report


@dataclass(frozen=True)
class _Sample:
    """A sample, or in its place the error of its line."""

    file: str
    line: int | None
    content: Annotation | DataError

    @property
    def name(self) -> str:
        return self.file if self.line is None else f"{self.file} (line {self.line})"

    @property
    def parts(self) -> tuple[Annotation | StoryClip, ...]:
        """What its files tell: of a story each clip, else itself; nothing in the place of an error."""
        if isinstance(self.content, DataError):
            return ()
        return self.content.story or (self.content,)

    def bad(self, reason: str, cause: str, file: str | None = None) -> BadSample:
        return BadSample(self.file if file is None else file, self.line, reason, cause)

    def look(self, min_side_px: int) -> tuple[BadSample | None, str]:
        """What is wrong with it, if anything; what its content is known by."""
        if isinstance(self.content, DataError):
            reason = "empty_caption" if isinstance(self.content, NoWordsError) else "unreadable"
            return self.bad(reason, self.content.cause), ""
        parts = self.parts
        try:
            for part in parts:
                fault = _fault(part, min_side_px)
                if fault is not None:
                    return self.bad(*fault, file=part.name), ""
            hashes = {part.name: _content_hash(part) for part in parts}
        except (VideoReadError, DataError) as error:
            # What is packed is read from a copy, which bears another name.
            return self.bad(
                "unreadable", error.cause, file=error.source if self.content.story else self.file
            ), ""
        about = [(hashes[part.name], part.start_s, getattr(part, "end_s", None)) for part in parts]
        return None, repr(about)


def _tar_samples(source: str | Path) -> list[_Sample]:
    found: list[_Sample] = []
    tars = TarSource(source)
    for number in range(len(tars)):
        try:
            one = tars.words(number)
            found.append(_Sample(one.name, None, one))
        except DataError as error:
            found.append(_Sample(error.source, None, error))
    return found


def _samples(source: Path, root: str | Path | None) -> list[_Sample]:
    if (source / INDEX_FILE).is_file():
        shards = ShardSource(source, source if root is None else Path(root))
        packed = [shards.packed(number) for number in range(len(shards))]
        return [_Sample(one.name, None, one) for one in packed]
    if source.is_dir():
        return [
            _Sample(str(path), None, Annotation(path, is_image=path.suffix.lower() in PICTURE_SUFFIXES))
            for path in list_samples(source)
        ]
    # Of a folder of captioned files each error names one of them, of a file its line.
    is_folder = split_name(source)[1].is_dir()
    return [
        _Sample(
            _wrong_file(found, source, is_folder) if isinstance(found, DataError) else found.name,
            number,
            found,
        )
        for number, found in annotation_lines(source, root)
    ]


def _wrong_file(error: DataError, source: Path, is_folder: bool) -> str:
    return error.source if is_folder else str(source)


def _content_hash(part: Annotation | StoryClip) -> str:
    with _open(part) as file:
        return hash_file(file)[0]


def _open(part: Annotation | StoryClip) -> AbstractContextManager[Path]:
    return on_disk(part.path, part.packed if isinstance(part, Annotation) else None)


def _fault(part: Annotation | StoryClip, min_side_px: int) -> tuple[str, str] | None:
    """Reason and cause, of a file that can be read."""
    with _open(part) as file, VideoReader(file) as reader:
        place = part.place(reader.duration_s)
        reader.frames_at_times([place.start_s + place.duration_s * share for share in (0, 0.5, 1)])
        width, height = reader.width, reader.height
    is_picture = isinstance(part, Annotation) and part.is_image
    if not is_picture and place.duration_s < CLIP_DURATION_S - _ROUNDING_S:
        return "too_short", f"it has {place.duration_s:.2f} s, a clip takes {CLIP_DURATION_S:g} s"
    if min(width, height) < min_side_px:
        return "too_small", f"it is {width} x {height} pixels, the shorter side must have {min_side_px}"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return "odd_aspect", f"it is {width} x {height} pixels, the sides may differ {MAX_ASPECT:g} times"
    return None
