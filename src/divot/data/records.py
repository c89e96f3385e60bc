"""Clips with words: what a sample of language training is made of, from Sprite World or from the user's files.

Letters: K clips, F frames, S side of a frame in pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from divot.config.errors import DataError, VideoReadError
from divot.data.annotations import Annotation, StoryClip
from divot.data.packed import on_disk
from divot.world import Event, Scene, caption, clip, is_held_out, render, sample_scene, still_caption
from divot.world.distribution import clip_generator
from divot.world.plans import plan
from divot.world.questions import KINDS, questions
from divot.world.stories import story

if TYPE_CHECKING:
    from torch import Tensor

    from divot.video.transform import SquareFit

# From a clip that will not do to one that no run comes to.
_FAR = 1_000_000_007


@dataclass(frozen=True)
class Record:
    """One video, or a picture, with what is said about it."""

    clips: np.ndarray
    """uint8 [K, 16, S, S, 3]; of a picture one clip that stands still. None (K = 0) where `tokens` are given."""
    captions: tuple[str, ...]
    """Different wordings of one caption."""
    questions: tuple[tuple[str, str], ...] = ()
    """Question and answer."""
    prompts: tuple[str, ...] = ()
    """Further words that a clip may be asked for with, but that are too few for its caption."""
    is_conversation: bool = False
    """Whether the questions follow from each other."""
    is_image: bool = False
    instruction: str = ""
    """What a story was asked for with; the clips are then those of the story, in order."""
    sentences: tuple[str, ...] = ()
    """Of a story, one a clip."""
    plans: tuple[str, ...] = ()
    """What each clip that may be written could be drawn from, in words; empty, or none, where nobody knows."""
    tokens: Tensor | None = None
    """[K, N, D]: those of the clips, where they were made before."""

    @property
    def num_clips(self) -> int:
        """K."""
        return len(self.clips) if self.tokens is None else len(self.tokens)


def world_story(seed: int, number: int, size_px: int) -> Record:
    """Story `number` of Sprite World's training split."""
    told = story(seed, number, "train")
    frames = np.stack([render(chapter.scene, size_px) for chapter in told.chapters])
    return Record(
        frames,
        (),
        instruction=told.instruction,
        sentences=tuple(chapter.sentence for chapter in told.chapters),
        plans=tuple(plan(chapter.scene) for chapter in told.chapters),
    )


def world_record(
    seed: int, number: int, size_px: int, is_image: bool = False, kinds: Collection[str] = KINDS
) -> Record:
    """Clip `number` of the training split with both styles of caption and its questions; or a still scene of it.

    Args:
        seed: of the world.
        number: of the clip.
        size_px: S.
        is_image: a still scene instead, with a caption alone.
        kinds: of the questions; a clip that permits none of them gives way to one that does.
    """
    if is_image:
        scene = _still_scene(seed, number)
        words = still_caption(scene, np.random.default_rng([seed, number]))
        return Record(render(scene, size_px)[None], (words,), is_image=True, plans=(plan(scene),))
    full = clip(seed, number, "train", size_px)
    while not (asked := [one for one in questions(full.scene, number) if one.kind in kinds]):
        number += _FAR
        full = clip(seed, number, "train", size_px)
    short = caption(full.scene, clip_generator(seed, number, "train", part=1), style="short")
    answered = tuple((question.text, question.answer) for question in asked)
    return Record(full.frames[None], (full.caption,), answered, (short,), plans=(plan(full.scene),))


def _still_scene(seed: int, number: int) -> Scene:
    """A scene in which nothing happens, made of a clip's sprites but those that training must not see at rest."""
    while True:
        scene = sample_scene(seed, number, "train")
        kept = [s for s in scene.sprites if not is_held_out(s.colour, s.shape, "stays")]
        if kept:
            return replace(scene, sprites=tuple(replace(s, events=(Event("stays"),)) for s in kept))
        number += _FAR


def read_record(annotation: Annotation, size_px: int, max_clips: int, at: float = 0.0) -> Record:
    """The clips of what an annotation tells about, at most `max_clips`, spread evenly over it, `at` as of
    `divot.video.clips.evenly_spread`; all those of a story.

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
        plans = tuple(part.plan for part in annotation.story)
        shown = _story_frames(annotation.story, fit)
        return Record(shown, (), instruction=annotation.instruction, sentences=told, plans=plans)
    try:
        with on_disk(annotation.path, annotation.packed) as file, VideoReader(file) as reader:
            part = annotation.place(reader.duration_s)
            clips = spread_clips(part.duration_s, max_clips, at)
            places = [replace(clip, start_s=part.start_s + clip.start_s) for clip in clips]
            frames = [reader.frames_at_times(place.times_s, fit) for place in places]
    except (VideoReadError, DataError) as error:
        raise VideoReadError(annotation.name, error.cause, error.remedy) from error
    if annotation.is_image:
        frames = [np.repeat(frames[0][:1], CLIP_FRAMES, axis=0)]
    return Record(
        np.stack(frames),
        annotation.captions,
        annotation.questions,
        is_conversation=annotation.is_conversation,
        is_image=annotation.is_image,
        plans=(annotation.plan,),
    )


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
