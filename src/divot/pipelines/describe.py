"""A video to words: questions, captions, and conversations of several turns about one video.

Letters: K clips, N tokens a clip, D width of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from divot.config.errors import RecipeError
from divot.config.versions import versions
from divot.lm.generate import Dialogue
from divot.lm.model import DivotLM
from divot.lm.sampling import TextSampling
from divot.pipelines.clips import MAX_SPREAD_CLIPS, count_clips, is_still, seen_clips
from divot.pipelines.sidecar import describe_language_model, describe_model
from divot.text import Turn, caption_request
from divot.video import MAX_VIEWS

if TYPE_CHECKING:
    from divot.pipelines.clips import Source
    from divot.pipelines.divot import Divot
    from divot.video import Fit

TASK = "chat"
GREEDY = TextSampling()
OnText = Callable[[str], None]
"""Called with each piece of text as it is said."""


def answer(
    lm: DivotLM,
    clips: Many[Tensor | None],
    requests: Many[str],
    sampling: TextSampling = GREEDY,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Answers to requests about clips, side by side in one batch.

    Args:
        lm: the language model.
        clips: for each request the tokens [V, K, N, D] it is about, of all requests in as many views; None for a
            request without a video.
        requests: what is asked.
        sampling: how words are chosen.
        generator: chance of the choices.
    """
    builder = lm.builder()
    views = max((len(tokens) for tokens in clips if tokens is not None), default=1)
    sequences = [
        builder.build(lm.segments([Turn(request, clips=0 if tokens is None else tokens.shape[1])]))
        for tokens, request in zip(clips, requests, strict=True)
        for _ in range(views)
    ]
    shown = [row for tokens in clips if tokens is not None for row in tokens.flatten(0, 1)]
    said: list[list[int]] = [[] for _ in requests]
    for step in Dialogue(lm, sequences, shown, generator, views=views).write_text(sampling):
        for ids, id_ in zip(said, step, strict=True):
            if id_ is not None:
                ids.append(id_)
    return [lm.words(ids) for ids in said]


def clips_that_fit(lm: DivotLM, request: str, max_new_tokens: int) -> int | None:
    """How many clips the context of the backbone holds beside a request and its answer; None: it has no limit."""
    if lm.context is None:
        return None
    clip_length = lm.config.num_tokens + 2
    words = len(lm.builder().build(lm.segments([Turn(request, clips=1)]))) - clip_length
    return max(0, (lm.context - words - max_new_tokens) // clip_length)


def settled_views(lm: DivotLM, views: int | None) -> int:
    """Views of a clip that are read: what is asked for, else what the model's config says.

    Raises:
        RecipeError: if there are not so many.
    """
    views = lm.config.views if views is None else views
    if not 1 <= views <= MAX_VIEWS:
        raise RecipeError("views", f"is {views}", f"Give 1 to {MAX_VIEWS}")
    return views


def describe_chat(
    divot: Divot, sampling: TextSampling, seed: int, fit: Fit, views: int | None = None
) -> dict[str, Any]:
    """Who answers and how, for a record."""
    return {
        "seed": seed,
        "fit": fit,
        "views": settled_views(divot.language_model(TASK), views),
        "model": describe_model(divot),
        "language_model": describe_language_model(divot, TASK, words=asdict(sampling)),
        "versions": versions(),
    }


class Chat:
    """A conversation about one video; what was said stays in the model's cache.

    Args:
        divot: the model.
        source: a video or picture file, or frames; None talks without one.
        fit: how frames are made square.
        sampling: how words are chosen.
        seed: same seed and same requests, same answers.
        max_clips: clips of two seconds that are read of the video at most, evenly spread over it.
        views: times that each is read, see `LanguageModelConfig.views`; None: as the model's config says.

    Raises:
        CheckpointError: if the model has no language model.
        RecipeError: if there are not so many views, or the video has more clips than fit in the context of the
            language model.
        VideoReadError: if the file cannot be read.
    """

    def __init__(
        self,
        divot: Divot,
        source: Source | None = None,
        fit: Fit = "crop",
        sampling: TextSampling = GREEDY,
        seed: int = 0,
        max_clips: int = MAX_SPREAD_CLIPS,
        views: int | None = None,
    ) -> None:
        self.lm = divot.language_model(TASK)
        self.sampling = sampling
        self.views = settled_views(self.lm, views)
        self.clips: list[Tensor] = []
        """Of each clip the tokens [V, N, D]."""
        self.is_image = source is not None and is_still(source)
        if source is not None:
            fitting = clips_that_fit(self.lm, "", sampling.max_new_tokens)
            if fitting and max_clips > fitting:
                # Before the video is read.
                self._refuse_more_than(fitting, count_clips(source, "spread", max_clips))
            size_px = divot.tokenizer_config.frame_size
            seen = seen_clips(source, size_px, fit, sampling="spread", max_clips=max_clips)
            self.clips = [divot.encode_views(frames, self.views) for _, frames in seen]
        self.turns: list[Turn] = []
        self._generator = torch.Generator().manual_seed(seed)
        self._builder = self.lm.builder()
        self._dialogue: Dialogue | None = None
        self._num_segments = 0
        self.said: list[list[int]] = []
        """Ids of each answer."""

    def say(self, request: str, on_text: OnText | None = None) -> str:
        """The answer to a request.

        Raises:
            RecipeError: if the request has no words, or it and an answer are more than the language model's context has
                left.
        """
        if not request.strip():
            raise RecipeError("question", "has no words", "Ask something")
        turn = Turn(request, clips=len(self.clips) if self._dialogue is None else 0, is_image=self.is_image)
        segments = self.lm.segments([*self.turns, turn])
        if self._dialogue is None:
            if fitting := clips_that_fit(self.lm, request, self.sampling.max_new_tokens):
                self._refuse_more_than(fitting, len(self.clips))
            sequence = self._builder.build(segments)
            self._refuse_longer_than_context(len(sequence))
            shown = [clip[view] for view in range(self.views) for clip in self.clips]
            rows = [sequence] * self.views
            self._dialogue = Dialogue(self.lm, rows, shown, self._generator, views=self.views)
        else:
            # The answer before is in the cache but for its last piece; its end and the new request follow.
            new = segments[self._num_segments + 1 :]
            waiting = [id_ for id_ in self.said[-1][-1:] if id_ != self.lm.vocab.eos]
            following = self._builder.continuation(waiting, new)
            self._refuse_longer_than_context(self._dialogue.length + len(following))
            self._dialogue.read([following] * self.views)
        self._num_segments = len(segments)
        text = self._listen(self._dialogue, on_text)
        self.turns.append(replace(turn, answer=text))
        return text

    def caption(self, on_text: OnText | None = None) -> str:
        """What the video, or the picture, shows; errors as of `say`."""
        return self.say(caption_request(is_image=self.is_image), on_text)

    def _refuse_longer_than_context(self, length: int) -> None:
        context, answer_length = self.lm.context, self.sampling.max_new_tokens
        if context is not None and length + answer_length > context:
            raise RecipeError(
                "chat",
                f"has come to {length} of the {context} positions that the language model holds, and an answer may "
                f"take {answer_length}",
                "Begin another one, ask in fewer words, or give a smaller --max-tokens",
            )

    def _refuse_more_than(self, fitting: int, num_clips: int) -> None:
        if num_clips > fitting:
            answer_length = self.sampling.max_new_tokens
            raise RecipeError(
                "max_clips",
                f"{num_clips} clips are too many for the context of the language model: beside the request and an "
                f"answer of {answer_length} word pieces {fitting} fit",
                f"Give --max-clips {fitting} or fewer",
            )

    def _listen(self, dialogue: Dialogue, on_text: OnText | None) -> str:
        ids: list[int] = []
        told = ""
        for step in dialogue.write_text(self.sampling):
            assert step[0] is not None
            ids.append(step[0])
            text = self.lm.words(ids)
            # A letter of several pieces shows only once it is whole.
            if on_text is not None and text.startswith(told) and not text.endswith("\ufffd"):
                on_text(text[len(told) :])
                told = text
        self.said.append(ids)
        text = self.lm.words(ids)
        if on_text is not None and text.startswith(told) and text != told:
            on_text(text[len(told) :])
        return text
