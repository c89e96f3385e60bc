"""The demo's words: what the model says about a clip, and clips that it makes from words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from divot.lm.sampling import TokenSampling
from divot.pipelines.generate import GeneratedClip, write_generated
from divot.pipelines.page import MadeSection, Said
from divot.pipelines.reconstruct import shown_scale
from divot.text import caption_request
from divot.video import CLIP_RATE_FPS, write_video
from divot.video.writer import enlarged
from divot.world import Scene
from divot.world.questions import questions

if TYPE_CHECKING:
    from divot.pipelines.clips import Source
    from divot.pipelines.divot import Divot

PROMPTS = (
    "A large red star starts on the left and moves right. The background is plain dark grey.",
    "A blue circle in the middle grows.",
    "A green square moves up while a yellow heart spins.",
)
NUM_QUESTIONS = 4


def has_language(divot: Divot) -> bool:
    """Whether the model can speak."""
    return bool(divot.folder.contents.language_models)


def talk_about(divot: Divot, source: Source, scene: Scene | None, seed: int) -> list[Said]:
    """A caption of a clip and, where the scene is known, some questions with the right answers."""
    said = [Said(caption_request(), divot.caption(source))]
    for question in (questions(scene, seed) if scene is not None else [])[:NUM_QUESTIONS]:
        said.append(Said(question.text, divot.ask(source, question.text), question.answer))
    return said


def make_clips(
    divot: Divot, out: Path, seed: int, steps: int | None
) -> tuple[list[MadeSection], list[GeneratedClip]]:
    """A clip from each of a few prompts, written with its record."""
    sampling = TokenSampling()
    sections, made = [], []
    for prompt in PROMPTS:
        clips = divot.generate(prompt, seed=seed, steps=steps, sampling=sampling)
        records = write_generated(clips, out, divot, sampling, steps=steps)
        moving = Path(records[0]["output"]).with_suffix(".webp")
        write_video(moving, enlarged(clips[0].frames, shown_scale(clips[0].frames)), CLIP_RATE_FPS)
        sections.append(MadeSection(prompt, moving, clips[0].seconds))
        made += clips
    return sections, made
