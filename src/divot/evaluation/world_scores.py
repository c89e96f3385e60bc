"""What a model understands and makes of Sprite World: questions, captions, and clips made from captions.

Letters: K clips, N tokens a clip, D width of a token.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from divot import world
from divot.evaluation.intervals import Interval, bootstrap_interval
from divot.evaluation.run_info import hardware, now, versions
from divot.evaluation.story_scores import story_scores
from divot.pipelines.describe import answer, settled_views
from divot.pipelines.generate import TASK, TokenSampling, settled, write_batch
from divot.pipelines.sidecar import describe_language_model, describe_model
from divot.pipelines.story import TASK as STORY_TASK
from divot.text import as_typed, caption_request
from divot.video import CLIP_FRAMES
from divot.world.facts import caption_f1
from divot.world.questions import MOTION_KINDS, Question, questions
from divot.world.verifier import Reading, Verdict, compare, read_scene, verify

if TYPE_CHECKING:
    from divot.lm.model import DivotLM
    from divot.pipelines.divot import Divot

PARTS = ("shape", "colour", "motion", "all")
BATCH = 64
"""Requests that are answered side by side."""
MAX_HASTY_CLIPS = 100
"""Clips that are asked about once more as people type in haste."""
MAX_DIVERSE_PROMPTS, DRAWS_A_PROMPT = 20, 4
Progress = Callable[[float], None]
T = TypeVar("T")


@dataclass(frozen=True)
class WorldExample:
    """One clip to look at: a caption, the clip it tells of, what was made from it, and whether it is right."""

    caption: str
    original: np.ndarray
    generated: np.ndarray
    verdict: Verdict


@dataclass
class WorldScores:
    """What was measured; `to_json` gives the keys that docs/evaluation.md defines."""

    measures: dict[str, Interval] = field(default_factory=dict)
    by_kind: dict[str, Interval] = field(default_factory=dict)
    controls: dict[str, dict[str, Interval]] = field(default_factory=dict)
    """Control -> `questions`, `motion_questions` for those that need motion, and for some `captions`."""
    run: dict[str, Any] = field(default_factory=dict)
    examples: list[WorldExample] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As a mapping for a JSON file."""
        return {
            **{name: value.to_json() for name, value in self.measures.items()},
            "questions_by_kind": {kind: value.to_json() for kind, value in self.by_kind.items()},
            "controls": {
                control: {name: value.to_json() for name, value in values.items()}
                for control, values in self.controls.items()
            },
            "run": self.run,
        }


@torch.no_grad()
def evaluate_world(
    model: Divot,
    seed: int,
    count: int,
    has_controls: bool = True,
    has_generation: bool = True,
    sampling: TokenSampling | None = None,
    on_progress: Progress | None = None,
    num_stories: int = 0,
    views: int | None = None,
) -> WorldScores:
    """Scores on clips of the test split: combinations of shape, colour and motion that training never showed.

    Args:
        model: with a language model and a de-tokenizer.
        seed: of the clips, the questions and the draws.
        count: clips.
        has_controls: also ask without the video, of a grey one, of another clip's and of one frame repeated, and
            caption without the video, of a grey one and of another clip's.
        has_generation: also make clips from the captions.
        sampling: how tokens are drawn; None takes the default.
        on_progress: called with the share of the work that is done.
        num_stories: stories to have told, see `story_scores`.
        views: times that each clip is read; None: as the model's config says.

    Raises:
        ValueError: if a number is out of range.
        CheckpointError: if the model lacks a part.
        RecipeError: if there are not so many views.
    """
    if count < 1:
        raise ValueError(f"count: got {count}, wanted 1 or more")
    tell = on_progress or (lambda share: None)
    sampling = TokenSampling() if sampling is None else sampling
    lm = model.language_model("ask")
    views = settled_views(lm, views)
    size_px = model.tokenizer_config.frame_size
    clips = [world.clip(seed, index, "test", size_px) for index in range(count)]
    asked = [questions(clip.scene, np.random.default_rng([seed, index])) for index, clip in enumerate(clips)]
    tokens = [_shown(model, clip.frames, views) for clip in clips]
    scores = WorldScores()
    tell(0.05)

    correct = _answers(lm, tokens, asked)
    scores.measures.update(_shares_right(correct, seed))
    for kind in sorted({one.kind for one in correct}):
        scores.by_kind[kind] = _share_right([one for one in correct if one.kind == kind], seed)
    haste = random.Random(seed)
    hasty = [[replace(one, text=as_typed(one.text, haste)) for one in row] for row in asked[:MAX_HASTY_CLIPS]]
    scores.measures["hasty_questions"] = _share_right(_answers(lm, tokens, hasty), seed)
    tell(0.2)
    told = _batched(lm, tokens, [caption_request()] * count)
    scores.measures["captions"] = _facts_right(told, clips, seed)
    tell(0.35)
    if has_controls:
        shown = _control_tokens(model, clips, tokens, views)
        for index, (control, shown_instead) in enumerate(shown.items()):
            scores.controls[control] = _shares_right(_answers(lm, shown_instead, asked), seed)
            tell(0.35 + 0.1 * (index + 1) / len(shown))
        scores.controls["best_constant"] = _shares_right(_constant(asked), seed)
        for control in ("no_video", "blank_video"):
            same = _batched(lm, shown[control][:1], [caption_request()])
            scores.controls[control]["captions"] = _facts_right(same * count, clips, seed)
        if count > 1:
            scores.controls["other_clip"]["captions"] = _facts_right(_shifted(told), clips, seed)
    if has_generation:
        _generate(model, scores, clips, seed, sampling, lambda share: tell(0.5 + 0.3 * share))
    if num_stories:
        of_stories = story_scores(model, seed, num_stories, sampling, lambda share: tell(0.8 + 0.2 * share))
        scores.measures.update(of_stories)
    tell(1.0)
    # Who only reads has no need of a de-tokenizer, nor of a language model that writes.
    writing = [*([TASK] if has_generation else []), *([STORY_TASK] if num_stories else [])]
    scores.run = {
        "clips": count,
        "seed": seed,
        "split": "test",
        "stories": num_stories,
        "views": views,
        "questions": len(correct),
        "sampling": vars(settled(model.language_model(writing[0]), sampling)) if writing else None,
        "sampler": vars(model.detokenizer(writing[0]).config.sampler) if writing else None,
        "model": describe_model(model),
        "language_models": {task: describe_language_model(model, task) for task in ("ask", *writing)},
        "detokenizers": {
            task: model.folder.detokenizer_hash(model.folder.detokenizer_name(task)) for task in writing
        },
        "hardware": hardware(model.device),
        "versions": versions(),
        "date": now(),
    }
    return scores


@dataclass(frozen=True)
class _Marked:
    clip: int
    kind: str
    is_right: bool


def _shares_right(marked: Sequence[_Marked], seed: int) -> dict[str, Interval]:
    return {
        "questions": _share_right(marked, seed),
        "motion_questions": _share_right([one for one in marked if one.kind in MOTION_KINDS], seed),
    }


def _share_right(marked: Sequence[_Marked], seed: int) -> Interval:
    # Questions about one clip are not independent: many are about the same sprite.
    return bootstrap_interval([float(one.is_right) for one in marked], seed, [one.clip for one in marked])


def _answers(
    lm: DivotLM, shown: Sequence[Tensor | None], asked: Sequence[Sequence[Question]]
) -> list[_Marked]:
    pairs = [(clip, one) for clip, row in enumerate(asked) for one in row]
    said = _batched(lm, [shown[clip] for clip, _ in pairs], [one.text for _, one in pairs])
    return [
        _Marked(clip, one.kind, text.strip().lower() == one.answer.lower())
        for (clip, one), text in zip(pairs, said, strict=True)
    ]


def _batched(lm: DivotLM, shown: Sequence[Tensor | None], requests: Sequence[str]) -> list[str]:
    said: list[str] = []
    for first in range(0, len(requests), BATCH):
        said += answer(lm, shown[first : first + BATCH], requests[first : first + BATCH])
    return said


def _shown(model: Divot, frames: np.ndarray, views: int) -> Tensor:
    """What the language model reads of a clip, [V, 1, N, D]."""
    return model.encode_views(frames, views)[:, None]


def _control_tokens(
    model: Divot, clips: Sequence[world.WorldClip], tokens: Sequence[Tensor], views: int
) -> dict[str, list[Tensor | None]]:
    """What is shown instead of each clip's own tokens."""
    size_px = model.tokenizer_config.frame_size
    grey = _shown(model, np.full((CLIP_FRAMES, size_px, size_px, 3), 128, np.uint8), views)
    middle = CLIP_FRAMES // 2
    still = [
        _shown(model, np.repeat(clip.frames[middle][None], CLIP_FRAMES, axis=0), views) for clip in clips
    ]
    instead: dict[str, list[Tensor | None]] = {
        "no_video": [None] * len(clips),
        "blank_video": [grey] * len(clips),
        "one_frame": list(still),
    }
    if len(clips) > 1:
        instead["other_clip"] = list(_shifted(tokens))
    return instead


def _shifted(values: Sequence[T]) -> list[T]:
    """To each of several clips the value of another one: that half the set behind it."""
    shift = len(values) // 2
    return [*values[shift:], *values[:shift]]


def _facts_right(told: Sequence[str], clips: Sequence[world.WorldClip], seed: int) -> Interval:
    return bootstrap_interval(
        [caption_f1(text, clip.scene) for text, clip in zip(told, clips, strict=True)], seed
    )


def _constant(asked: Sequence[Sequence[Question]]) -> list[_Marked]:
    """The one answer for each kind that is right most often here: the best that knows the kind alone."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in asked:
        for one in row:
            answers[one.kind][one.answer] += 1
    best = {kind: counts.most_common(1)[0][0] for kind, counts in answers.items()}
    return [
        _Marked(clip, one.kind, one.answer == best[one.kind]) for clip, row in enumerate(asked) for one in row
    ]


def _generate(
    model: Divot,
    scores: WorldScores,
    clips: Sequence[world.WorldClip],
    seed: int,
    sampling: TokenSampling,
    tell: Progress,
) -> None:
    lm, judge = model.language_model(TASK), model.judge(TASK)
    verdicts: list[Verdict] = []
    readings: list[Reading] = []
    for first in range(0, len(clips), BATCH):
        chunk = clips[first : first + BATCH]
        seeds = range(seed + first, seed + first + len(chunk))
        written = write_batch(lm, [clip.caption for clip in chunk], seeds, sampling, judge=judge).tokens
        for clip, tokens, own in zip(chunk, written, seeds, strict=True):
            frames = model.decode(tokens, seed=own, task=TASK)
            readings.append(read_scene(frames))
            verdicts.append(compare(readings[-1], clip.scene))
            scores.examples.append(WorldExample(clip.caption, clip.frames, frames, verdicts[-1]))
            tell(0.9 * len(verdicts) / len(clips))
    counts = [len(clip.scene.sprites) for clip in clips]
    for name, wanted in (("", (1, 2)), ("_one_sprite", (1,)), ("_two_sprites", (2,))):
        chosen = [v for v, number in zip(verdicts, counts, strict=True) if number in wanted]
        for part in PARTS if chosen else ():
            values = [float(getattr(verdict, part)) for verdict in chosen]
            scores.measures[f"generation_{part}{name}"] = bootstrap_interval(values, seed)
    others = [compare(reading, clip.scene) for reading, clip in zip(_shifted(readings), clips, strict=True)]
    for part in PARTS if len(clips) > 1 else ():
        values = [float(getattr(verdict, part)) for verdict in others]
        scores.measures[f"generation_{part}_shifted"] = bootstrap_interval(values, seed)
    true = [float(verify(clip.frames, clip.scene).all) for clip in clips]
    scores.measures["generation_all_true"] = bootstrap_interval(true, seed)
    scores.measures["generation_diversity"] = bootstrap_interval(
        _diversity(model, clips, seed, sampling), seed
    )


def _diversity(
    model: Divot, clips: Sequence[world.WorldClip], seed: int, sampling: TokenSampling
) -> list[float]:
    """Of each prompt: root mean square difference of two draws' tokens, in the model's units of tokens."""
    lm, judge, spreads = model.language_model(TASK), model.judge(TASK), []
    for index, clip in enumerate(clips[:MAX_DIVERSE_PROMPTS]):
        seeds = [seed + index + 1000 * draw for draw in range(DRAWS_A_PROMPT)]
        written = write_batch(lm, [clip.caption] * len(seeds), seeds, sampling, judge=judge)
        draws = lm.scaled(written.tokens.to(lm.device))
        spreads.append(float(2**0.5 * draws.std(dim=0).pow(2).mean().sqrt()))
    return spreads
