"""Clips with words: what a sample of language training is made of, from Sprite World or from the user's files.

Letters: K clips, F frames, S side of a frame in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from divot.config.errors import DataError
from divot.world import Event, Scene, caption, clip, is_held_out, render, sample_scene, still_caption
from divot.world.distribution import clip_generator
from divot.world.questions import questions

# From a clip that will not do to one that no run comes to.
_FAR = 1_000_000_007


@dataclass(frozen=True)
class Record:
    """One video, or a picture, with what is said about it."""

    clips: np.ndarray
    """uint8 [K, 16, S, S, 3]; of a picture one clip that stands still."""
    captions: tuple[str, ...]
    """Different wordings of one caption."""
    questions: tuple[tuple[str, str], ...] = ()
    """Question and answer."""
    is_image: bool = False


def world_record(seed: int, number: int, size_px: int, is_image: bool = False) -> Record:
    """Clip `number` of the training split with both styles of caption and its questions; or a still scene of it."""
    if is_image:
        scene = _still_scene(seed, number)
        words = still_caption(scene, np.random.default_rng([seed, number]))
        return Record(render(scene, size_px)[None], (words,), is_image=True)
    full = clip(seed, number, "train", size_px)
    short = caption(full.scene, clip_generator(seed, number, "train", part=1), style="short")
    asked = tuple((question.text, question.answer) for question in questions(full.scene, number))
    return Record(full.frames[None], (full.caption, short), asked)


def _still_scene(seed: int, number: int) -> Scene:
    """A scene in which nothing happens, made of a clip's sprites but those that training must not see at rest."""
    while True:
        scene = sample_scene(seed, number, "train")
        kept = [s for s in scene.sprites if not is_held_out(s.colour, s.shape, "stays")]
        if kept:
            return replace(scene, sprites=tuple(replace(s, events=(Event("stays"),)) for s in kept))
        number += _FAR


@dataclass(frozen=True)
class Annotation:
    """A line of an annotations file."""

    path: Path
    captions: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]
    is_image: bool


def read_annotations(file: str | Path, root: str | Path | None) -> list[Annotation]:
    """A jsonl file: on each line `video` or `image` (a path under `root`), `caption` (a text or several), and
    `questions` (pairs of question and answer); at least one of the last two.

    Raises:
        DataError: if the file cannot be read, or a line is not of this form; names the line.
    """
    path = Path(file)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error})", "Give a jsonl file") from error
    found = [_annotation(path, number, line, Path(root or path.parent)) for number, line in _filled(lines)]
    if not found:
        raise DataError(path, "holds no annotation", "Give a line for each video")
    return found


def _filled(lines: list[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _annotation(path: Path, number: int, line: str, root: Path) -> Annotation:
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}", "is not JSON", "Write one JSON object a line") from error
    remedy = 'Write {"video": "a.mp4", "caption": "...", "questions": [["...", "..."]]}'
    if not isinstance(values, dict) or ("video" in values) == ("image" in values):
        raise DataError(f"{path}:{number}", "names neither a video nor an image, or both", remedy)
    told = values.get("caption", [])
    captions = [told] if isinstance(told, str) else told
    asked = values.get("questions", [])
    is_text = isinstance(captions, list) and all(isinstance(words, str) and words for words in captions)
    is_asked = isinstance(asked, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(words, str) and words for words in pair)
        for pair in asked
    )
    if not is_text or not is_asked or not (captions or asked):
        raise DataError(f"{path}:{number}", "has no usable caption or questions", remedy)
    name = values.get("video", values.get("image"))
    if not isinstance(name, str):
        raise DataError(f"{path}:{number}", "names no file", remedy)
    pairs = tuple((str(question), str(answer)) for question, answer in asked)
    return Annotation(root / name, tuple(captions), pairs, "image" in values)


def read_record(annotation: Annotation, size_px: int, max_clips: int) -> Record:
    """The clips of an annotated file, at most `max_clips` of them, spread evenly over it.

    Raises:
        VideoReadError: if the file cannot be read.
    """
    # Only here: world clips need no video library.
    from divot.video.clips import CLIP_FRAMES, spread_clips
    from divot.video.reader import VideoReader
    from divot.video.transform import SquareFit

    with VideoReader(annotation.path) as reader:
        fit = SquareFit(size_px)
        places = spread_clips(reader.duration_s, max_clips)
        frames = [reader.frames_at_times(place.times_s, fit) for place in places]
    if annotation.is_image:
        frames = [np.repeat(frames[0][:1], CLIP_FRAMES, axis=0)]
    return Record(np.stack(frames), annotation.captions, annotation.questions, annotation.is_image)
