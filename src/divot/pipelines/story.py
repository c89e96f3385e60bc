"""A story in words and clips: the language model says a sentence, writes its clip, reads it back, and goes on.

Letters: N tokens a clip, D width of a token, S side of a frame in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from divot.config.errors import RecipeError
from divot.lm.generate import PLAN_WORDS, Dialogue
from divot.lm.model import DivotLM
from divot.lm.sampling import TextSampling, TokenSampling
from divot.pipelines.load import SamplerChanges, resolve_sampler
from divot.text import STORY_FROM_CLIP, ReadClips, Turn, opens_plan, story_segments
from divot.text.sequence import Sequence

if TYPE_CHECKING:
    from divot.pipelines.clips import Source
    from divot.pipelines.divot import Divot
    from divot.video import Fit

TASK = "story"
# A story that is told twice may go two ways; the likeliest words alone would tell one.
STORY_WORDS = TextSampling(temperature=0.7, top_p=0.9, max_new_tokens=80)
STORY_TOKENS = TokenSampling()
OnText = Callable[[str], None]


class ToldClip(NamedTuple):
    """What a story that goes on remembers of a clip."""

    sentence: str
    tokens: Tensor
    """[N, D]."""
    plan: str = ""


@dataclass(frozen=True)
class StoryClip:
    """A sentence of a story and the clip that shows it.

    Attributes:
        sentence: what the model said.
        tokens: [N, D], what it wrote.
        frames: uint8 [16, S, S, 3] at 8 a second.
        seed: of the clip's noise.
        plan: what the model settled before it wrote the clip, if it plans its clips.
    """

    sentence: str
    tokens: Tensor
    frames: np.ndarray
    seed: int
    plan: str = ""


def tell_story(
    divot: Divot,
    instruction: str,
    count: int = 4,
    seed: int = 0,
    words: TextSampling = STORY_WORDS,
    sampling: TokenSampling = STORY_TOKENS,
    earlier: Many[ToldClip] = (),
    first_clip: Source | Tensor | None = None,
    fit: Fit = "crop",
    on_sentence: OnText | None = None,
    **changes: Unpack[SamplerChanges],
) -> Iterator[StoryClip]:
    """Tell a story, clip by clip; each clip is conditioned on all that came before it.

    Args:
        divot: the model.
        instruction: what the story is about.
        count: clips to make.
        seed: same seed and same settings, same story; clip k has the noise of seed + k.
        words: how sentences are chosen.
        sampling: how tokens are drawn.
        earlier: the clips of a story that goes on, in order.
        first_clip: a video or frames whose first two seconds the story begins with, or the tokens [N, D] of a clip.
        fit: how its frames are made square.
        on_sentence: called with each sentence before its clip is made.
        **changes: to the sampler's settings, see `SamplerChanges`.

    Yields:
        The clips in order.

    Raises:
        CheckpointError: if the model has no language model or no de-tokenizer for stories.
        RecipeError: if a setting is out of range, or the story may come to more than the language model's context.
        VideoReadError: if the first clip cannot be read.
    """
    if count < 1:
        raise RecipeError("clips", f"is {count}", "Give 1 or more")
    # Before the first sentence is said.
    resolve_sampler(divot.detokenizer(TASK).config, **changes)
    lm, judge = divot.language_model(TASK), divot.judge(TASK)
    shown = []
    if isinstance(first_clip, Tensor):
        shown = [first_clip]
    elif first_clip is not None:
        shown = [first_clip_tokens(divot, first_clip, fit)]
    begun = _begun(lm, instruction, len(shown), earlier)
    _refuse_longer_than_context(lm, len(begun), count, words)
    written = [told.tokens for told in earlier]
    dialogue = Dialogue(lm, [begun], [*shown, *written], torch.Generator().manual_seed(seed), written)
    for number in range(len(earlier), len(earlier) + count):
        sentence = _say_sentence(lm, dialogue, words)
        if on_sentence is not None:
            on_sentence(sentence)
        tokens = dialogue.write_clip(sampling, words=[sentence], judge=judge)[0].cpu()
        dialogue.read([lm.builder().continuation([], [ReadClips()])], [tokens])
        frames = divot.decode(tokens, seed=seed + number, task=TASK, **changes)
        yield StoryClip(sentence, tokens, frames, seed + number, dialogue.plans[0])


def first_clip_tokens(divot: Divot, source: Source, fit: Fit = "crop") -> Tensor:
    """Tokens [N, D] of the first two seconds of a video or frames.

    Raises:
        VideoReadError: if it cannot be read.
    """
    return next(divot.iterate_tokens(source, fit))[1]


def _refuse_longer_than_context(lm: DivotLM, length: int, count: int, words: TextSampling) -> None:
    if lm.context is None:
        return
    longest = words.max_new_tokens + (PLAN_WORDS.max_new_tokens if lm.config.plans else 0)
    # A sentence and its plan, its clip as it is written, and the clip as it is read back.
    of_clip = longest + 2 * len(lm.builder().continuation([], [ReadClips()]))
    fitting = max(0, (lm.context - length) // of_clip)
    if count > fitting:
        raise RecipeError(
            "clips",
            f"is {count}: with sentences of up to {longest} word pieces the language model's context "
            f"of {lm.context} has room for {fitting}",
            f"Give --clips {fitting} or fewer" if fitting else "Begin another story",
        )


def _begun(lm: DivotLM, instruction: str, num_shown: int, earlier: Many[ToldClip]) -> Sequence:
    """The request, and what has been told of the story."""
    request = STORY_FROM_CLIP.format(instruction=instruction) if num_shown else instruction
    segments = lm.segments([Turn(request, clips=num_shown)])
    segments += [part for told in earlier for part in story_segments(told.sentence, told.plan)]
    return lm.builder().build(segments)


def _say_sentence(lm: DivotLM, dialogue: Dialogue, words: TextSampling) -> str:
    """The next sentence, without the plan of its clip; where it has no end, it is cut at its longest."""
    starts = (lm.vocab.video_start, lm.vocab.image_start)
    said: list[int] = []
    for (id_,) in dialogue.write_text(words, may_write_clip=True, may_end=False):
        assert id_ is not None
        if id_ in starts or (lm.config.plans and opens_plan(lm.words([id_]))):
            break
        said.append(id_)
    else:
        # Its last piece is not in the cache yet.
        dialogue.read([lm.builder().continuation(said[-1:], [])])
    return lm.words(said)
