"""Clips with words: what a sample of language training is made of, from Sprite World or from the user's files.

Letters: K clips, F frames, S side of a frame in pixels.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from divot.config.errors import DataError, VideoReadError
from divot.world import Event, Scene, caption, clip, is_held_out, render, sample_scene, still_caption
from divot.world.distribution import clip_generator
from divot.world.questions import questions
from divot.world.stories import story

if TYPE_CHECKING:
    from divot.video.clips import Clip
    from divot.video.transform import SquareFit

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
    instruction: str = ""
    """What a story was asked for with; the clips are then those of the story, in order."""
    sentences: tuple[str, ...] = ()
    """Of a story, one a clip."""
    clip_captions: tuple[str, ...] = ()
    """Of a story, one a clip: what it shows, by itself."""


def world_story(seed: int, number: int, size_px: int) -> Record:
    """Story `number` of Sprite World's training split."""
    told = story(seed, number, "train")
    frames = np.stack([render(chapter.scene, size_px) for chapter in told.chapters])
    captions = [caption(chapter.scene, number, style="short") for chapter in told.chapters]
    sentences = tuple(chapter.sentence for chapter in told.chapters)
    return Record(
        frames, (), instruction=told.instruction, sentences=sentences, clip_captions=tuple(captions)
    )


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


MIN_STORY_CLIPS, MAX_STORY_CLIPS = 2, 20
_SAMPLE_REMEDY = 'Write {"video": "a.mp4", "caption": "...", "questions": [["...", "..."]]}'
_STORY_REMEDY = (
    'Write {"story": "Tell ...", "clips": [{"video": "a.mp4", "start_s": 12.0, "text": "..."}, ...]}'
)


class NoWordsError(DataError):
    """A line of an annotations file says nothing about its files that could be learned."""


@dataclass(frozen=True)
class StoryClip:
    """Two seconds of a video with the sentence of a story that they show."""

    path: Path
    start_s: float
    text: str

    def place(self, duration_s: float) -> Clip:
        """The clip in its video, which lasts `duration_s`.

        Raises:
            VideoReadError: if the video ends before the clip begins.
        """
        from divot.video.clips import CLIP_DURATION_S, Clip

        if self.start_s >= duration_s:
            cause = (
                f"a clip of a story is to begin at {self.start_s:g} s, the video ends at {duration_s:.2f} s"
            )
            raise VideoReadError(self.path, cause, "Correct start_s")
        return Clip(0, self.start_s, min(CLIP_DURATION_S, duration_s - self.start_s))


@dataclass(frozen=True)
class Annotation:
    """A line of an annotations file."""

    path: Path
    """Of a story, the file of its first clip."""
    captions: tuple[str, ...] = ()
    questions: tuple[tuple[str, str], ...] = ()
    is_image: bool = False
    instruction: str = ""
    """What the story is asked for with; empty if it is none."""
    story: tuple[StoryClip, ...] = ()
    """The clips of a story in order; captions and questions are then empty."""


def read_annotations(file: str | Path, root: str | Path | None) -> list[Annotation]:
    """A jsonl file: on each line `video` or `image` (a path under `root`), `caption` (a text or several), and
    `questions` (pairs of question and answer); at least one of the last two. Or a `story` (what it is asked for with)
    and its 2 to 20 `clips`, each with `video`, `start_s` and `text`.

    Args:
        file: the jsonl file.
        root: folder of the paths; None takes the one of the file.

    Raises:
        DataError: if the file cannot be read, or a line is not of this form; names the line.
    """
    path = Path(file)
    lines = annotation_lines(path)
    return [parse_annotation(line, f"{path}:{number}", root or path.parent) for number, line in lines]


def annotation_lines(file: Path) -> list[tuple[int, str]]:
    """The lines of an annotations file that are not empty, each with its number, from 1.

    Raises:
        DataError: if the file cannot be read, or holds no such line.
    """
    try:
        # Not `splitlines`: JSON may hold other ends of lines inside its words.
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, f"cannot be read ({error})", "Give a jsonl file") from error
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise DataError(file, "holds no annotation", "Give a line for each video")
    return found


def parse_annotation(line: str, where: str, root: str | Path) -> Annotation:
    """One line of an annotations file.

    Args:
        line: JSON.
        where: names the line in errors.
        root: folder of the paths.

    Raises:
        NoWordsError: if it names its files but says nothing about one of them.
        DataError: if it is of another form.
    """
    try:
        values: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(where, "is not JSON", "Write one JSON object a line") from error
    if isinstance(values, dict) and "story" in values:
        return _parse_story(values, where, Path(root))
    if not isinstance(values, dict) or ("video" in values) == ("image" in values):
        raise DataError(where, "names neither a video nor an image, or both", _SAMPLE_REMEDY)
    name = values.get("video", values.get("image"))
    if not isinstance(name, str):
        raise DataError(where, "names no file", _SAMPLE_REMEDY)
    told = values.get("caption", [])
    captions = [told] if isinstance(told, str) else told
    asked = values.get("questions", [])
    is_told = isinstance(captions, list) and all(map(_is_text, captions))
    is_asked = isinstance(asked, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) for pair in asked
    )
    if not is_told or not is_asked or not (captions or asked):
        raise NoWordsError(where, "has no usable caption or questions", _SAMPLE_REMEDY)
    pairs = tuple((str(question), str(answer)) for question, answer in asked)
    return Annotation(Path(root) / name, tuple(captions), pairs, "image" in values)


def _parse_story(values: dict[str, Any], where: str, root: Path) -> Annotation:
    if "video" in values or "image" in values:
        raise DataError(where, "is a story and names a video or an image beside its clips", _STORY_REMEDY)
    told = values.get("clips")
    if not isinstance(told, list) or not MIN_STORY_CLIPS <= len(told) <= MAX_STORY_CLIPS:
        wanted = f"{MIN_STORY_CLIPS} to {MAX_STORY_CLIPS}"
        raise DataError(where, f"is a story without a list of {wanted} clips", _STORY_REMEDY)
    clips = []
    for number, part in enumerate(told, start=1):
        name, start_s, text = (
            part.get(key) if isinstance(part, dict) else None for key in ("video", "start_s", "text")
        )
        if not isinstance(name, str):
            raise DataError(where, f"clip {number} of the story names no video", _STORY_REMEDY)
        if not isinstance(start_s, (int, float)) or not 0 <= start_s < math.inf:
            raise DataError(where, f"clip {number} of the story has no start_s of 0 or more", _STORY_REMEDY)
        if not _is_text(text):
            raise NoWordsError(where, f"clip {number} of the story has no text", _STORY_REMEDY)
        clips.append(StoryClip(root / name, float(start_s), str(text)))
    if not _is_text(values["story"]):
        raise NoWordsError(where, "does not say what the story is asked for with", _STORY_REMEDY)
    return Annotation(clips[0].path, instruction=values["story"], story=tuple(clips))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def read_record(annotation: Annotation, size_px: int, max_clips: int) -> Record:
    """The clips of an annotated file, at most `max_clips` of them, spread evenly over it; or all those of a story.

    Raises:
        VideoReadError: if a file cannot be read, or ends before a clip of the story begins.
    """
    # Only here: world clips need no video library.
    from divot.video.clips import CLIP_FRAMES, spread_clips
    from divot.video.reader import VideoReader
    from divot.video.transform import SquareFit

    fit = SquareFit(size_px)
    if annotation.story:
        told = tuple(part.text for part in annotation.story)
        shown = _story_frames(annotation.story, fit)
        return Record(shown, (), instruction=annotation.instruction, sentences=told, clip_captions=told)
    with VideoReader(annotation.path) as reader:
        places = spread_clips(reader.duration_s, max_clips)
        frames = [reader.frames_at_times(place.times_s, fit) for place in places]
    if annotation.is_image:
        frames = [np.repeat(frames[0][:1], CLIP_FRAMES, axis=0)]
    return Record(np.stack(frames), annotation.captions, annotation.questions, annotation.is_image)


def _story_frames(parts: tuple[StoryClip, ...], fit: SquareFit) -> np.ndarray:
    from divot.video.reader import VideoReader

    frames: dict[StoryClip, np.ndarray] = {}
    # Each file is opened once, however the story goes to and fro.
    for path in dict.fromkeys(part.path for part in parts):
        with VideoReader(path) as reader:
            for part in parts:
                if part.path == path:
                    frames[part] = reader.frames_at_times(part.place(reader.duration_s).times_s, fit)
    return np.stack([frames[part] for part in parts])
