"""Where the records of annotated files come from: the files, shards of them, or tokens that were made before.

Letters: K clips, N tokens a clip, D width of a token, S side of a frame in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from divot.config.errors import DataError, VideoReadError
from divot.data.annotations import Annotation, StoryClip
from divot.data.datasets import read_annotations, split_name
from divot.data.records import Record, read_record
from divot.data.shards import ShardSource
from divot.data.tars import TarSource, is_tars
from divot.data.tokens import StoredVideo, TokenStore
from divot.video.clips import CLIP_DURATION_S, CLIP_FRAMES, Clip, evenly_spread


class RecordSource(Protocol):
    """Annotated samples, by number."""

    def __len__(self) -> int: ...

    def annotation(self, number: int) -> Annotation:
        """What is said about sample `number`.

        Raises:
            VideoReadError: if that cannot be had.
        """
        ...

    def record(self, number: int, size_px: int, max_clips: int, at: float = 0.0) -> Record:
        """The same with its clips, at most `max_clips` of a video, taken `at` which place of its parts (see
        `divot.video.clips.evenly_spread`), frames of S = `size_px`.

        Raises:
            VideoReadError: if its clips cannot be had.
        """
        ...


def record_source(file: str | Path, root: str | Path | None, tokens: TokenStore | None) -> RecordSource:
    """The samples of an annotations file, of a data set as it is published, of a folder of shards, or of tar files.

    Args:
        file: the annotations (of a data set NAME:PATH), the folder, or the tar files as of `is_tars`.
        root: folder of the paths in them; None takes the one of the file, or that folder.
        tokens: a store of the videos; None reads the files.

    Raises:
        DataError: if the annotations cannot be used, or are tar files with a store.
    """
    if is_tars(file):
        if tokens is not None:
            cause = "are tar files, whose videos a token store does not know"
            raise DataError(str(file), cause, "Train without a store, or unpack them and encode the videos")
        return TarSource(file)
    dataset, path = split_name(file)
    root = Path(root) if root is not None else (path if path.is_dir() else path.parent)
    is_shards = dataset is None and path.is_dir()
    files: RecordSource = ShardSource(path, root) if is_shards else FileSource(read_annotations(file, root))
    return files if tokens is None else StoredSource(files, tokens, root)


class FileSource:
    """Samples whose files are read."""

    def __init__(self, annotations: list[Annotation]) -> None:
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._annotations)

    def annotation(self, number: int) -> Annotation:
        """See `RecordSource`."""
        return self._annotations[number]

    def record(self, number: int, size_px: int, max_clips: int, at: float = 0.0) -> Record:
        """See `RecordSource`."""
        return read_record(self._annotations[number], size_px, max_clips, at)


class StoredSource:
    """Samples whose clips are tokens of a store. Pictures, of which a store has none, are read from their files.

    Args:
        files: the samples as they would be read.
        store: of their videos. A name in it means the same video as a path if one of them is the end of the other:
            `a/b.mp4` is `/data/a/b.mp4`, but not `c/b.mp4`.
        root: folder of the paths in the annotations; what stands before it does not count.
    """

    def __init__(self, files: RecordSource, store: TokenStore, root: Path) -> None:
        self._files, self._store, self._root = files, store, root
        self._by_file_name: dict[str, list[StoredVideo]] = {}
        for video in store.videos:
            self._by_file_name.setdefault(Path(video.name).name, []).append(video)

    def __len__(self) -> int:
        return len(self._files)

    def annotation(self, number: int) -> Annotation:
        """See `RecordSource`."""
        return self._files.annotation(number)

    def record(self, number: int, size_px: int, max_clips: int, at: float = 0.0) -> Record:
        """See `RecordSource`; of a story each clip is the one of the store that begins nearest to its `start_s`."""
        annotation = self._files.annotation(number)
        if annotation.is_image:
            return self._files.record(number, size_px, max_clips)
        no_frames = np.empty((0, CLIP_FRAMES, size_px, size_px, 3), np.uint8)
        if annotation.story:
            told = tuple(part.text for part in annotation.story)
            tokens = torch.cat([self._nearest(part) for part in annotation.story])
            return Record(
                no_frames,
                (),
                instruction=annotation.instruction,
                sentences=told,
                plans=tuple(part.plan for part in annotation.story),
                tokens=tokens,
            )
        video = self._video(annotation.path)
        kept = evenly_spread(_clips_of(annotation, video), max_clips, at)
        tokens = torch.cat([self._clip(video, clip.index) for clip in kept])
        return Record(
            no_frames,
            annotation.captions,
            annotation.questions,
            is_conversation=annotation.is_conversation,
            plans=(annotation.plan,),
            tokens=tokens,
        )

    def _clip(self, video: StoredVideo, index: int) -> Tensor:
        """[1, N, D]."""
        return self._store.read(video.name, index, index + 1)

    def _nearest(self, part: StoryClip) -> Tensor:
        video = self._video(part.path)
        clip = min(video.clips, key=lambda clip: abs(clip.start_s - part.start_s))
        end_s = clip.start_s + clip.duration_s
        if not clip.start_s - CLIP_DURATION_S < part.start_s < end_s:
            cause = (
                f"a clip of a story is to begin at {part.start_s:g} s, {self._store.folder} has none there"
            )
            raise VideoReadError(part.path, cause, "Correct start_s, or encode the whole video")
        return self._clip(video, clip.index)

    def _video(self, path: Path) -> StoredVideo:
        told = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        shared = {}
        for video in self._by_file_name.get(path.name, []):
            name = Path(video.name)
            if _num_shared(told, name) == min(len(told.parts), len(name.parts)):
                shared[video.name] = _num_shared(path, name)
        nearest = [name for name, count in shared.items() if count == max(shared.values())]
        if len(nearest) != 1:
            cause = f"is not in the token store {self._store.folder}"
            if nearest:
                cause = f"may be each of {', '.join(nearest)} in the token store {self._store.folder}"
            raise VideoReadError(
                path, cause, "Encode it into the store by the path that the annotations give"
            )
        return self._store.video(nearest[0])


def _clips_of(annotation: Annotation, video: StoredVideo) -> list[Clip]:
    """The stored clips whose middle is in the part that is told about, or the one nearest to it."""
    if annotation.end_s is None and not annotation.start_s:
        return list(video.clips)
    part = annotation.place(max(clip.start_s + clip.duration_s for clip in video.clips))
    end_s = part.start_s + part.duration_s
    middles = [(clip.start_s + clip.duration_s / 2, clip) for clip in video.clips]
    inside = [clip for middle, clip in middles if part.start_s <= middle < end_s]
    centre = (part.start_s + end_s) / 2
    return inside or [min(middles, key=lambda one: abs(one[0] - centre))[1]]


def _num_shared(one: Path, other: Path) -> int:
    """How many parts two paths have in common, from their ends."""
    count = 0
    for part, counterpart in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if part != counterpart:
            break
        count += 1
    return count
