"""Scores of stories that a model tells of Sprite World: whether each clip shows what its sentence says, and whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from divot.evaluation.intervals import Interval, bootstrap_interval
from divot.pipelines.story import STORY_WORDS, TokenSampling, tell_story
from divot.world import render
from divot.world.plots import Character
from divot.world.stories import story, told_readings
from divot.world.verifier import Reading, Verdict, compare, read_scene

if TYPE_CHECKING:
    from divot.pipelines.divot import Divot

_NOTHING = Verdict(False, False, False, False)


def story_scores(
    model: Divot,
    seed: int,
    count: int,
    sampling: TokenSampling,
    on_progress: Callable[[float], None] | None = None,
) -> dict[str, Interval]:
    """Measures over `count` stories of the test split; the model hears the instruction and tells the rest itself.

    `story_match`: clips that show what the sentence says, as many sprites as there should be, of the right shapes and
    colours, that do what they should. `story_motion`, `story_character`: of these the motions alone, the shapes and
    colours alone. `story_repeats`: stories with two clips that read alike where their sentences do not. By chance:
    `story_match_shifted` and `story_motion_shifted` hold each clip against the story's next sentence,
    `story_character_shifted` against the next story (with two stories or more). The verifier's own limit: `_true` holds
    the true clips of the world against the true sentences.

    Args:
        model: with a language model and a de-tokenizer.
        seed: of the stories and the draws.
        count: stories.
        sampling: how tokens are drawn.
        on_progress: called with the share of the work that is done.
    """
    made: list[_Story] = []
    true: list[_Story] = []
    for index in range(count):
        wanted = story(seed, index, "test")
        told = list(
            tell_story(model, wanted.instruction, len(wanted.chapters), seed + index, STORY_WORDS, sampling)
        )
        frames, sentences = [clip.frames for clip in told], [clip.sentence for clip in told]
        made.append(_Story.read(frames, sentences, wanted.characters))
        shown = [render(chapter.scene, frames[0].shape[1]) for chapter in wanted.chapters]
        true.append(_Story.read(shown, [chapter.sentence for chapter in wanted.chapters], wanted.characters))
        if on_progress is not None:
            on_progress((index + 1) / count)
    verdicts = [_verdicts(one.shown, one.wanted) for one in made]
    shifted = [_verdicts([*one.shown[-1:], *one.shown[:-1]], one.wanted) for one in made]
    verdicts_true = [_verdicts(one.shown, one.wanted) for one in true]
    scores = {
        "story_match": _share(verdicts, _matches, seed),
        "story_motion": _share(verdicts, _moves, seed),
        "story_character": _share(verdicts, _keeps, seed),
        "story_repeats": bootstrap_interval([float(_repeats(one)) for one in made], seed),
        "story_match_shifted": _share(shifted, _matches, seed),
        "story_motion_shifted": _share(shifted, _moves, seed),
        "story_match_true": _share(verdicts_true, _matches, seed),
        "story_motion_true": _share(verdicts_true, _moves, seed),
        "story_character_true": _share(verdicts_true, _keeps, seed),
        "story_repeats_true": bootstrap_interval([float(_repeats(one)) for one in true], seed),
    }
    if count > 1:
        others = [
            _verdicts(one.shown, other.wanted)
            for one, other in zip(made, [*made[1:], *made[:1]], strict=True)
        ]
        scores["story_character_shifted"] = _share(others, _keeps, seed)
    return scores


@dataclass(frozen=True)
class _Story:
    """What each clip shows, and what it should show; None where the sentence tells nothing that can be read."""

    shown: list[Reading]
    wanted: list[Reading | None]

    @classmethod
    def read(
        cls, frames: Sequence[np.ndarray], sentences: Sequence[str], characters: Sequence[Character]
    ) -> _Story:
        return cls([read_scene(clip) for clip in frames], list(told_readings(sentences, characters)))


def _verdicts(shown: Sequence[Reading], wanted: Sequence[Reading | None]) -> list[Verdict]:
    # Two stories may differ in length.
    return [
        _NOTHING if reading is None else compare(one, reading)
        for one, reading in zip(shown, wanted, strict=False)
    ]


def _matches(verdict: Verdict) -> bool:
    return verdict.all


def _moves(verdict: Verdict) -> bool:
    return verdict.motion


def _keeps(verdict: Verdict) -> bool:
    return verdict.shape and verdict.colour


def _share(stories: Sequence[Sequence[Verdict]], is_right: Callable[[Verdict], bool], seed: int) -> Interval:
    # A story's clips are not independent: they are drawn together.
    values = [float(is_right(verdict)) for verdicts in stories for verdict in verdicts]
    drawn = [story for story, verdicts in enumerate(stories) for _ in verdicts]
    return bootstrap_interval(values, seed, drawn)


def _repeats(story: _Story) -> bool:
    pairs = combinations(zip(story.shown, story.wanted, strict=True), 2)
    return any(
        compare(one, other).all and not compare(wanted, other_wanted).all
        for (one, wanted), (other, other_wanted) in pairs
        if wanted is not None and other_wanted is not None
    )
