"""Many videos to a token store; a run that was stopped is taken up where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from divot.config.errors import DataError, VideoReadError
from divot.config.files import write_json_lines
from divot.data.token_writer import TokenStoreWriter
from divot.data.tokens import Manifest
from divot.pipelines.clips import Sampling
from divot.pipelines.divot import Divot, Progress
from divot.pipelines.encode_workers import EncodeTask, VideoEncoder, Workers, add_clips
from divot.video import Fit
from divot.weights.contents import MODEL_FILE


@dataclass
class EncodeSummary:
    """What became of each video.

    Attributes:
        encoded: names of those whose tokens were made (or completed) in this run.
        replaced: those of which the store had the tokens of another file, which went.
        skipped: names of those that the store had already.
        failed: name of each that cannot be read -> why.
        num_clips: clips encoded in this run.
        seconds: how long that took.
    """

    encoded: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    num_clips: int = 0
    seconds: float = 0.0

    def write_rejects(self, file: str | Path) -> None:
        """Write a jsonl file with `file` and `cause` of each that cannot be read, whole or not at all."""
        rows = [{"file": name, "cause": cause} for name, cause in self.failed.items()]
        write_json_lines(file, rows)


def encode_videos(
    divot: Divot,
    videos: Sequence[str | Path],
    store: str | Path,
    fit: Fit = "crop",
    batch_size: int = 1,
    on_progress: Progress | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    sampling: Sampling = "consecutive",
    workers: Workers | None = None,
) -> EncodeSummary:
    """Encode videos into a token store, in constant memory.

    Videos that the store has are skipped, one that was begun is continued after its last safe clip. One that
    cannot be read to its end is left out, and the others go on. With workers the lines of the store are put into
    the order of `videos` at the end, so that it is the store that one process makes with as many threads.

    Args:
        divot: the model.
        videos: files.
        store: folder of the store; made if it is not there.
        fit: how frames are made square.
        batch_size: clips that go through the tokenizer at once.
        on_progress: called as the work goes on.
        on_failure: called with the name of a video that is left out, and why.
        sampling: which clips are read, see `divot.pipelines.clips.Sampling`.
        workers: processes that encode, each with a model of its own; None encodes in this one, with `divot`.

    Raises:
        CheckpointError: if a worker finds no such model, or another one.
        DataError: if the store is of another model or other options, or is no store; if a worker died and is not
            replaced.
        RecipeError: if a worker has no such device, or there are no such workers.
        ValueError: if `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, wanted 1 or more")
    begin = time.perf_counter()
    config = divot.tokenizer_config
    manifest = Manifest(
        tokenizer_hash=divot.folder.tokenizer_hash,
        model=divot.source,
        dtype=str(divot.dtype).removeprefix("torch."),
        num_tokens=config.num_tokens,
        token_width=config.token_width,
        settings={"fit": fit, "sampling": sampling},
    )
    summary = EncodeSummary()
    work = _Work([_size_bytes(path) for path in videos], summary, on_progress)
    with TokenStoreWriter(store, manifest) as writer:
        if workers is None:
            _encode_here(divot, videos, writer, fit, batch_size, sampling, summary, work, on_failure)
        else:
            encoder = VideoEncoder(
                _seen_from_anywhere(divot.source),
                workers.device,
                manifest.dtype,
                writer.folder.absolute(),
                writer.manifest,
                fit,
                batch_size,
                sampling,
            )
            _encode_in_workers(workers, encoder, videos, writer, summary, work, on_failure)
    summary.seconds = time.perf_counter() - begin
    return summary


def _encode_here(
    divot: Divot,
    videos: Sequence[str | Path],
    writer: TokenStoreWriter,
    fit: Fit,
    batch_size: int,
    sampling: Sampling,
    summary: EncodeSummary,
    work: _Work,
    on_failure: Callable[[str, str], None] | None,
) -> None:
    for index, path in enumerate(videos):
        entry = None
        try:
            was_there = writer.finished(Path(path).as_posix()) is not None
            entry = writer.start(path)
            if entry is None:
                summary.skipped.append(Path(path).as_posix())
            else:
                if was_there:
                    summary.replaced.append(entry.name)
                for share in add_clips(divot, path, entry, fit, batch_size, sampling):
                    work.clip_done(share)
                entry.finish()
                summary.encoded.append(entry.name)
        except (VideoReadError, DataError) as error:
            if entry is not None:
                entry.discard()
            summary.failed[Path(path).as_posix()] = error.cause
            if on_failure is not None:
                on_failure(Path(path).as_posix(), error.cause)
        work.video_done(index)


def _encode_in_workers(
    workers: Workers,
    encoder: VideoEncoder,
    videos: Sequence[str | Path],
    writer: TokenStoreWriter,
    summary: EncodeSummary,
    work: _Work,
    on_failure: Callable[[str, str], None] | None,
) -> None:
    paths = {Path(path).as_posix(): Path(path).absolute() for path in videos}
    order = {name: index for index, name in enumerate(paths)}
    tasks = [EncodeTask(name, path, writer.finished(name)) for name, path in paths.items()]
    while tasks:
        changed = []
        for outcome in workers.outcomes(encoder, tasks):
            name = outcome.name
            if outcome.is_changed:
                # Its line must go before its shards do, and only this process writes lines.
                writer.forget(name)
                summary.replaced.append(name)
                changed.append(EncodeTask(name, paths[name]))
                continue
            if outcome.video is not None:
                writer.append(outcome.video)
                summary.encoded.append(name)
            elif outcome.cause is not None:
                summary.failed[name] = outcome.cause
                if on_failure is not None:
                    on_failure(name, outcome.cause)
            else:
                summary.skipped.append(name)
            summary.num_clips += outcome.num_clips
            work.video_done(order[name])
        tasks = changed
    writer.sort(order)
    writer.remove_leftovers()
    summary.encoded.sort(key=order.__getitem__)
    summary.replaced.sort(key=order.__getitem__)
    summary.skipped.sort(key=order.__getitem__)
    summary.failed = {name: summary.failed[name] for name in order if name in summary.failed}


def _seen_from_anywhere(model: str) -> str:
    return str(Path(model).absolute()) if (Path(model) / MODEL_FILE).is_file() else model


class _Work:
    """How much is done, weighed by the size of the files: the lengths of videos to come are not known."""

    def __init__(self, sizes: list[int], summary: EncodeSummary, on_progress: Progress | None) -> None:
        self._sizes, self._summary, self._on_progress = sizes, summary, on_progress
        self._total = max(1, sum(sizes))
        self._index = self._before = 0

    def clip_done(self, share_of_video: float) -> None:
        self._summary.num_clips += 1
        self._report(self._before + share_of_video * self._sizes[self._index])

    def video_done(self, index: int) -> None:
        self._before += self._sizes[index]
        self._index = index + 1
        self._report(self._before)

    def _report(self, done: float) -> None:
        if self._on_progress is not None:
            self._on_progress(min(1.0, done / self._total), self._summary.num_clips)


def _size_bytes(path: str | Path) -> int:
    # One more, so that files that are not there or empty count for something.
    return 1 + (Path(path).stat().st_size if Path(path).is_file() else 0)
