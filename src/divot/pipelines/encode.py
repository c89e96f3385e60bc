"""Many videos to a token store; a run that was stopped is taken up where it stood."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from divot.config.errors import DataError, VideoReadError
from divot.data.token_writer import TokenStoreWriter, VideoEntry
from divot.data.tokens import Manifest
from divot.pipelines.clips import Sampling, count_clips
from divot.pipelines.divot import Divot, Progress
from divot.video import Fit


@dataclass
class EncodeSummary:
    """What became of each video.

    Attributes:
        encoded: names of those whose tokens were made (or completed) in this run.
        skipped: names of those that the store had already.
        failed: name of each that cannot be read -> why.
        num_clips: clips encoded in this run.
        seconds: how long that took.
    """

    encoded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    num_clips: int = 0
    seconds: float = 0.0


def encode_videos(
    divot: Divot,
    videos: Sequence[str | Path],
    store: str | Path,
    fit: Fit = "crop",
    batch_size: int = 1,
    on_progress: Progress | None = None,
    on_failure: Callable[[str, str], None] | None = None,
    sampling: Sampling = "consecutive",
) -> EncodeSummary:
    """Encode videos into a token store, in constant memory.

    Videos that the store has are skipped, one that was begun is continued after its last safe clip. One that
    cannot be read to its end is left out, and the others go on.

    Args:
        divot: the model.
        videos: files.
        store: folder of the store; made if it is not there.
        fit: how frames are made square.
        batch_size: clips that go through the tokenizer at once.
        on_progress: called as the work goes on.
        on_failure: called with the name of a video that is left out, and why.
        sampling: which clips are read, see `divot.pipelines.clips.Sampling`.

    Raises:
        DataError: if the store is of another model or other options, or is no store.
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
        for index, path in enumerate(videos):
            entry = None
            try:
                entry = writer.start(path)
                if entry is None:
                    summary.skipped.append(Path(path).as_posix())
                else:
                    _encode_video(divot, path, entry, fit, batch_size, sampling, work)
                    summary.encoded.append(entry.name)
            except (VideoReadError, DataError) as error:
                if entry is not None:
                    entry.discard()
                summary.failed[Path(path).as_posix()] = error.cause
                if on_failure is not None:
                    on_failure(Path(path).as_posix(), error.cause)
            work.video_done(index)
    summary.seconds = time.perf_counter() - begin
    return summary


def _encode_video(
    divot: Divot,
    path: str | Path,
    entry: VideoEntry,
    fit: Fit,
    batch_size: int,
    sampling: Sampling,
    work: _Work,
) -> None:
    total = count_clips(path, sampling)
    for clip, tokens in divot.iterate_tokens(path, fit, entry.num_done, batch_size, sampling):
        entry.add(clip, tokens)
        work.clip_done((clip.index + 1) / total)
    entry.finish()


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
