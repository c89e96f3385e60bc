"""Encoding in several processes: each writes the shards of its videos, the writer of the store only their lines.

Tokens stay in the process that made them. A video that is done again, because its worker was killed, gives the same
files under the same names.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch

from divot.config.errors import CheckpointError, DataError, VideoReadError
from divot.data.token_writer import VideoEntry, hash_file, is_stored
from divot.data.tokens import Manifest, StoredVideo
from divot.pipelines.clips import Sampling, count_clips
from divot.video import Fit

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot


@dataclass(frozen=True)
class EncodeTask:
    """A video to encode.

    Attributes:
        name: of the video in the store.
        path: of the file, from whatever folder the worker is in.
        stored: what the store has under that name.
    """

    name: str
    path: Path
    stored: StoredVideo | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a video: it has one of `video`, `cause` and the two marks.

    Attributes:
        name: of the video in the store.
        video: its shards, all of them written.
        num_clips: clips that were encoded for it, those of a file that ends too soon among them.
        cause: why it cannot be read.
        is_there: the store has it already.
        is_changed: the store has it from another content of the file, or not whole; nothing was encoded.
    """

    name: str
    video: StoredVideo | None = None
    num_clips: int = 0
    cause: str | None = None
    is_there: bool = False
    is_changed: bool = False


@dataclass(frozen=True)
class VideoEncoder:
    """Turns tasks into outcomes, in any process; it is sent there whole and opens the model with its first task.

    Attributes:
        model: preset, folder or hub id.
        device: where it runs; `auto` is settled by the worker.
        dtype: type of the weights in memory.
        store: the store, opened for writing by another process.
        manifest: the store's.
        fit: how frames are made square.
        batch_size: clips that go through the tokenizer at once.
        sampling: which clips are read.
    """

    model: str
    device: str
    dtype: str
    store: Path
    manifest: Manifest
    fit: Fit
    batch_size: int
    sampling: Sampling

    def __call__(self, task: EncodeTask) -> Outcome:
        """Write the shards of a video.

        Raises:
            CheckpointError: if the worker finds no such model, or another one.
            RecipeError: if the worker has no such device.
        """
        entry, num_clips = None, 0
        try:
            sha256, size_bytes = hash_file(task.path)
            if task.stored is not None:
                is_there = is_stored(self.store, task.stored, sha256)
                return Outcome(task.name, is_there=is_there, is_changed=not is_there)
            entry = VideoEntry(self.store, self.manifest, task.name, sha256, size_bytes)
            for _ in add_clips(self._divot, task.path, entry, self.fit, self.batch_size, self.sampling):
                num_clips += 1
            return Outcome(task.name, entry.finish(), num_clips)
        except (VideoReadError, DataError) as error:
            if entry is not None:
                entry.discard()
            return Outcome(task.name, num_clips=num_clips, cause=error.cause)

    @cached_property
    def _divot(self) -> Divot:
        # Only here: a worker that finds all videos done needs no model.
        from divot.pipelines.divot import Divot

        divot = Divot.from_pretrained(self.model, self.device, self.dtype)
        if divot.folder.tokenizer_hash != self.manifest.tokenizer_hash:
            raise CheckpointError(
                self.model,
                f"is another model on {platform.node()} (tokenizer {divot.folder.tokenizer_hash}, "
                f"not {self.manifest.tokenizer_hash})",
                "Give a folder that all machines see, or the same files on each",
            )
        return divot


class Workers(Protocol):
    """Processes that encode."""

    device: str
    """Device of each worker."""

    def outcomes(self, encoder: VideoEncoder, tasks: Sequence[EncodeTask]) -> Iterator[Outcome]:
        """An outcome for each task, in the order in which they are finished."""
        ...


class ProcessWorkers:
    """Processes of this machine, which share its cores and see its device.

    A script that uses them keeps its own work under `if __name__ == "__main__":`, for each process imports it.

    Args:
        count: how many.
        device: `auto`, `cpu`, `cuda`, ...
    """

    def __init__(self, count: int, device: str = "auto") -> None:
        self.count, self.device = count, device

    def outcomes(self, encoder: VideoEncoder, tasks: Sequence[EncodeTask]) -> Iterator[Outcome]:
        """An outcome for each task, in the order in which they are finished.

        Raises:
            DataError: if a process dies.
        """
        # Not forked: threads of torch do not live on in a fork.
        pool = ProcessPoolExecutor(
            self.count, multiprocessing.get_context("spawn"), _begin_worker, (encoder, self.count)
        )
        others, own = multiprocessing.active_children(), []
        try:
            futures = [pool.submit(_encode, task) for task in tasks]
            own = [child for child in multiprocessing.active_children() if child not in others]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                encoder.store,
                "is not complete, a process that encoded for it died (out of memory?)",
                "Run the same command again, it goes on; with fewer --workers if memory was short",
            ) from error
        except BaseException:
            # A film may be hours long, and what was encoded of it stays.
            for process in own:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def add_clips(
    divot: Divot, path: str | Path, entry: VideoEntry, fit: Fit, batch_size: int, sampling: Sampling
) -> Iterator[float]:
    """Encode the clips of a video that its entry does not have yet.

    Yields:
        After each clip the share of the video that is done.

    Raises:
        VideoReadError: if the file cannot be read, or not further.
    """
    total = count_clips(path, sampling)
    for clip, tokens in divot.iterate_tokens(path, fit, entry.num_done, batch_size, sampling):
        entry.add(clip, tokens)
        yield (clip.index + 1) / total


_encoder: VideoEncoder


def _begin_worker(encoder: VideoEncoder, count: int) -> None:
    global _encoder
    _encoder = encoder
    # Ctrl-C ends a worker without a word; the process that waits for it speaks.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))


def _encode(task: EncodeTask) -> Outcome:
    return _encoder(task)
