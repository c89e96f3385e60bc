"""Scores of stories that a model tells of Sprite World: whether each clip shows what its sentence says, and whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from divot.evaluation.intervals import Interval, bootstrap_interval
from divot.pipelines.story import STORY_WORDS, TokenSampling, tell_story
from divot.world import render
from divot.world.stories import Character, story, told_readings
from divot.world.verifier import Verdict, compare, read_scene

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

# Two clips of a story whose tokens differ by less, in the model's units of tokens, are the same clip.
SAME_CLIP = 0.1
_NOTHING = Verdict(False, False, False, False)


def story_scores(
    model: Divot,
    seed: int,
    count: int,
    sampling: TokenSampling,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Interval]:
    """Measures over `count` stories of the test split; the model hears the instruction and tells the rest itself.

    `story_match`: clips with as many sprites as there should be, which do what the sentence says. `story_character`:
    clips in which all have their shapes and colours. `story_repeats`: stories with two clips alike.
    `story_match_shifted` holds each clip against the story's next sentence (by chance), `story_match_true` and
    `story_character_true` the true clips of the world against the true sentences (the verifier's own limit).

    Args:
        model: with a language model and a de-tokenizer.
        seed: of the stories and the draws.
        count: stories.
        sampling: how tokens are drawn.
        on_progress: called with the share of the work that is done.
    """
    lm = model.language_model("story")
    made: list[list[Verdict]] = []
    true: list[list[Verdict]] = []
    shifted: list[list[Verdict]] = []
    repeats = []
    for index in range(count):
        wanted = story(seed, index, "test")
        told = list(
            tell_story(model, wanted.instruction, len(wanted.chapters), seed + index, STORY_WORDS, sampling)
        )
        frames, sentences = [clip.frames for clip in told], [clip.sentence for clip in told]
        made.append(_verdicts(frames, sentences, wanted.characters))
        shifted.append(_verdicts([*frames[-1:], *frames[:-1]], sentences, wanted.characters))
        shown = [render(chapter.scene, frames[0].shape[1]) for chapter in wanted.chapters]
        true.append(_verdicts(shown, [chapter.sentence for chapter in wanted.chapters], wanted.characters))
        repeats.append(float(_repeats([lm.scaled(clip.tokens.to(lm.device)) for clip in told])))
        if on_progress is not None:
            on_progress((index + 1) / count)
    return {
        "story_match": _share(made, _matches, seed),
        "story_character": _share(made, _keeps, seed),
        "story_repeats": bootstrap_interval(repeats, seed),
        "story_match_shifted": _share(shifted, _matches, seed),
        "story_match_true": _share(true, _matches, seed),
        "story_character_true": _share(true, _keeps, seed),
    }


def _verdicts(
    frames: Sequence[np.ndarray], sentences: Sequence[str], characters: Sequence[Character]
) -> list[Verdict]:
    wanted = told_readings(sentences, characters)
    return [
        _NOTHING if reading is None else compare(read_scene(clip), reading)
        for clip, reading in zip(frames, wanted, strict=True)
    ]


def _matches(verdict: Verdict) -> bool:
    return verdict.motion


def _keeps(verdict: Verdict) -> bool:
    return verdict.shape and verdict.colour


def _share(stories: Sequence[Sequence[Verdict]], is_right: Callable[[Verdict], bool], seed: int) -> Interval:
    # A story's clips are not independent: its share is one draw.
    return bootstrap_interval([sum(map(is_right, verdicts)) / len(verdicts) for verdicts in stories], seed)


def _repeats(tokens: Sequence[Tensor]) -> bool:
    return any(
        float((one - other).pow(2).mean().sqrt()) < SAME_CLIP
        for place, one in enumerate(tokens)
        for other in tokens[:place]
    )
